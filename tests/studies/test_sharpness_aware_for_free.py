"""Study 04 once in ``quick``, and its steps as plain functions."""

import numpy as np
import pandas as pd
import pytest
import torch

from overparam.datasets import member_samples
from overparam.models import MLP, count_parameters
from overparam.store import Store, Tables
from overparam.studies.optimization import sharpness_aware_for_free as study_file
from overparam.study import ConfigError

study = study_file.study
SMALL = {"seeds": 2, "epochs": 8, "train_size": 40, "validation_size": 20, "path_every": 4}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return study.run(Store.open(tmp_path_factory.mktemp("saf")))


def verdict(results, name):
    return next(v for v in results.verdicts if v.claim.name == name)


def test_quick_decides_what_it_can(results):
    assert results.ok
    found = {v.claim.name: (v.verdict, v.judgement.control_verdict) for v in results.verdicts}
    assert found["costs_nothing"] == ("reproduced", "contradicted")
    assert found["bounds_the_drop"][0] == "reproduced"
    assert found["bounds_the_drop"][1] in ("contradicted", "inconclusive")
    for name in ("flatter", "generalises", "mesa_close"):
        assert found[name][0] == "undecided"


def test_passes_are_those_of_the_paper(results):
    path = results.tables("descents")["path"]
    passes = path[path["epoch"] == 39].groupby("method")[["forward", "backward"]].first() / 300
    assert passes.loc["sgd"].tolist() == passes.loc["saf_3"].tolist() == [1, 1]
    assert passes.loc["mesa_3"].tolist() == passes.loc["saf_recomputed_3"].tolist() == [2, 1]
    assert passes.loc["sam_0.1"].tolist() == [2, 2]
    control = verdict(results, "costs_nothing").judgement.control[0]
    assert control.effect == 2 and not control.inside


def test_rows_and_columns(results):
    runs = results.tables("runs")["runs"]
    assert len(runs) == 5 * 5
    assert {
        "seed", "dataset", "noise", "model", "method", "lam", "tau", "distance", "rho", "test_acc",
        "ema_acc", "train_loss", "lambda_max", "trace", "sam_sharpness", "fwd_passes", "bwd_passes",
        "seconds",
    } <= set(runs)  # fmt: skip
    numbers = runs[["test_acc", "val_acc", "train_loss", "lambda_max", "trace", "sam_sharpness"]]
    assert np.isfinite(numbers).all(axis=None) and not runs["diverged"].any()
    assert runs.groupby("method")["test_acc"].mean().drop("saf_recomputed_3").min() > 0.8
    assert runs["ema_acc"].notna().equals(runs["method"] == "mesa_3")
    path = results.tables("descents")["path"]
    last = path[path["epoch"] == 39].set_index(["method", "seed"])["lambda_max"]
    ours = runs.set_index(["method", "seed"])["lambda_max"]
    pd.testing.assert_series_equal(ours.sort_index(), last.sort_index())


def test_noise_is_in_the_training_labels_alone(results):
    splits = results.tables("splits")
    parts = ("train", "val", "test")
    (x, y), (x_val, y_val), (x_test, y_test) = (member_samples(splits, (0, 1), p) for p in parts)
    assert x.shape == (2, 300, 64) and x_val.shape == (2, 200, 64) and x_test.shape[1] == 1297
    clean = study_file.splits(
        task="digits/mlp/0/0.1",
        seeds=(0, 1),
        digits_file=study.config().step_value("digits_file"),
        own_file=None,
        train_size=300,
        validation_size=200,
    )
    (x_clean, y_clean), (_, y_val_clean), (_, y_test_clean) = (
        member_samples(Tables.of(clean), (0, 1), p) for p in parts
    )
    assert torch.equal(x, x_clean) and torch.equal(y_test, y_test_clean)
    assert ((y != y_clean).sum(1) == 60).all()
    assert torch.equal(y_val, y_val_clean)
    for rows in torch.cat([x, x_val, x_test], dim=1):
        assert len(rows.unique(dim=0)) > 1790  # the parts are disjoint


def test_every_figure_draws(results):
    for figure in study.figures:
        chart = figure.function(*(results.tables(name) for name in figure.inputs))
        assert chart.to_dict()["config"] is not None, figure.title


def test_claims_about_what_was_not_run_decide_nothing(results, judged_without):
    found = judged_without(results, method=["sam_0.1", "saf", "mesa"])
    # Memory was measured, accuracy was not: the claim's control fails, but the claim is open.
    assert found.pop("mesa_close").verdict == "inconclusive"
    assert {judgement.verdict for judgement in found.values()} == {"void"}


def test_other_data_models_and_methods(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 1, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(80) % 3)
    results = study.run(
        tmp_path / "store",
        tasks=("mnist1d/conv/0/0", "own/conv/0/0"),
        methods=("sgd", "sgd_2x", "sam_0.1", "saf_3", "saf_E0", "saf_shuffled_1", "saf_reversed_1"),
        own_file=str(tmp_path / "own.npz"),
        **SMALL,
    )
    # Claims about trainings that were not run are neither held up nor refuted.
    assert verdict(results, "costs_nothing").judgement.control_verdict == "inconclusive"
    runs = results.tables("runs")["runs"].set_index(["task", "method", "seed"])
    assert len(runs) == 2 * 7 * 2
    for task in ("mnist1d/conv/0/0", "own/conv/0/0"):
        numbers = runs.loc[task][["test_acc", "train_loss"]]
        assert numbers.loc["saf_E0"].equals(numbers.loc["sgd"])
        assert not numbers.loc["saf_3"].equals(numbers.loc["saf_shuffled_1"])
        passes = runs.loc[task]["bwd_passes"].groupby("method").first()
        assert passes["sgd_2x"] == passes["sam_0.1"] == 2 * passes["sgd"]


def test_claims_tell_zero_from_more_than_zero():
    """The control differs from SGD by nothing at all, which must not pass as an improvement."""
    rows = [
        {"task": "t", "smoothing": 0.1, "noise": 0.2, "method": method, "seed": seed}
        | {"test_acc": 0.9 + gain + 0.001 * seed, "lambda_max": 5.0 - 20 * gain}
        for method, gain in (("sgd", 0), ("saf_E0", 0), ("saf_1", 0.02), ("saf_3", 0.03))
        for seed in range(6)
    ]
    runs = Tables.of({"runs": pd.DataFrame(rows)})
    for claim in (study_file.flatter, study_file.generalises):
        assert all(part.inside for part in claim(runs, arm="saf"))
        assert all(part.outside for part in claim(runs, arm="saf_E0"))


def test_memory_of_the_table_and_of_the_average():
    table = study_file.memory(tau=5.0, distance=3, start=5, beta=0.995).only()
    size = table.set_index(["method", "samples"])["bytes"]
    assert size["saf", 64] == 64 * 4 * (10 + 1) * 4 and size["saf", 128] == 2 * size["saf", 64]
    weights = count_parameters(MLP((64, 16, 10)))
    assert size["mesa", 64] == size["mesa", 128] == 4 * weights


def test_the_control_is_no_part_of_the_curve_over_lambda():
    rows = [
        {"task": "t", "method": method, "seed": 0, "lam": lam, "test_acc": score}
        for method, lam, score in (("sgd", None, 0.5), ("saf_1", 1, 0.8), ("saf_E0", 1, 0.5))
    ]
    chart = study_file.accuracy_lambda(Tables.of({"runs": pd.DataFrame(rows)})).to_dict()
    (drawn,) = chart["datasets"].values()
    assert {(row["series"], row["x"], row["y"]) for row in drawn} == {
        ("saf", 0.0, 0.5),
        ("saf", 1.0, 0.8),
    }


def test_trainings_that_all_diverge_decide_nothing(tmp_path):
    methods = ("sgd", "sam_0.1", "saf_1", "saf_3", "saf_recomputed_3", "mesa_1", "mesa_3")
    results = study.run(tmp_path, methods=methods, learning_rate=1e30, **SMALL)
    runs = results.tables("runs")["runs"]
    assert len(runs) == 14 and runs["diverged"].all()
    assert runs[["lambda_max", "trace", "sam_sharpness"]].isna().to_numpy().all()
    found = {v.claim.name: v.judgement for v in results.verdicts}
    for name in ("flatter", "bounds_the_drop"):
        assert not any(part.defined for part in found[name].arm), name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"tau": 0}, "tau"),
        ({"beta": 1}, "beta"),
        ({"distance": 0}, "distance"),
        ({"distance": 6}, "start=5 must be at least distance=6"),
        ({"methods": ("adam",)}, "adam"),
        ({"methods": ("saf_E1",)}, "saf_E1"),
        ({"tasks": ("digits/mlp",)}, "digits/mlp"),
        ({"tasks": ("own/mlp/0/0",)}, "own/mlp/0/0 needs own_file"),
    ],
)
def test_bad_input(overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        study.run(tmp_path, **{**SMALL, **overrides})
