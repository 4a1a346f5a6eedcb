"""The study of a user's own model: what its keys hold, and its steps as plain functions."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from overparam.compress.load_model import load as load_model
from overparam.errors import ConfigError
from overparam.store import write_folders
from overparam.studies import load
from overparam.study import load_object

TOYS = Path(__file__).parent.parent / "toys"
NET = str(TOYS / "own_net.py")


@pytest.fixture(scope="module")
def study():
    return load("compress")


def plan_of(study, net=NET, **settings):
    given = {"model": f"{net}:make", "datasets": f"{net}:data", "ratios": (2,), "seeds": 1}
    return study.plan("quick", **{**given, **settings})


def cell(plan, step, **values):
    (found,) = [
        c
        for c in plan.cells_of(plan.study.steps[step])
        if all(c.values[name] == value for name, value in values.items())
    ]
    return found


def test_a_sample_counts_by_its_data_and_its_model(study):
    plan = study.plan("quick")
    data = plan.key_parts(cell(plan, "samples"))["config"]
    assert set(data["data"]) == {"content"} and data["label"] == "digit"
    assert set(plan.key_parts(cell(plan, "dense"))["config"]["model"]) == {"content"}


def test_what_measures_counts_although_another_process_does_it(study):
    parts = plan_of(study).fingerprint(study.steps["measured"]).parts
    for name in ("quality:quality", "latency:latency_ratio", "flops:flop_count"):
        assert f"overparam.measure.{name}" in parts


def test_a_changed_method_runs_again_and_no_other(study, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(Path(NET).read_text())
    methods = (f"+{mine}:every_other", f"+{mine}:fussy", "magnitude")

    def keys():
        plan = plan_of(study, methods=methods)
        return [plan.key(cell(plan, "compressed", method=method)) for method in methods]

    before = keys()
    mine.write_text(mine.read_text().replace("no layer of a kind", "nothing of a kind"))
    same = [old == new for old, new in zip(before, keys(), strict=True)]
    assert same == [True, False, True]


def test_one_more_ratio_leaves_the_other_cells_as_they_are(study):
    few, many = plan_of(study), plan_of(study, ratios=(2, 4))
    values = {"method": "magnitude", "ratio": 2.0}
    assert few.key(cell(few, "compressed", **values)) == many.key(
        cell(many, "compressed", **values)
    )


def test_cells_are_those_that_the_methods_ask_for(study):
    plan = plan_of(study, methods=("int", "magnitude+int8", "random"), ratios=(2, 4), seeds=2)
    found = [tuple(c.values.values()) for c in plan.cells_of(study.steps["compressed"])]
    seeds = plan.config.seed_values()
    assert found == [
        ("int", None, 8, seeds[0]),
        ("int", None, 4, seeds[0]),
        *[("magnitude+int8", r, 8, s) for r in (2.0, 4.0) for s in seeds],
        *[("random", r, None, s) for r in (2.0, 4.0) for s in seeds],
    ]


def test_inputs_of_trained_weights_stay_as_they_are(study, tmp_path):
    from safetensors.torch import save_file

    from overparam.training.own_model import build_model

    file = tmp_path / "w.safetensors"
    save_file(build_model(f"{NET}:make").state_dict(), file)
    assert plan_of(study).config.standardize
    assert not plan_of(study, weights=str(file)).config.standardize
    assert plan_of(study, weights=str(file), standardize=True).config.standardize


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label": "y"}, "label is given without model"),
        ({"sample": "mnist"}, "sample"),
        ({"model": f"{NET}:make"}, "model needs either data"),
        ({"model": f"{NET}:make", "datasets": f"{NET}:data", "label": "y"}, "describe Parquet"),
    ],
)
def test_settings_that_do_not_fit_together(study, settings, words):
    with pytest.raises(ConfigError, match=words):
        study.plan("quick", **settings)


def test_the_steps_are_plain_functions(study):
    steps, config = study.steps, plan_of(study).config
    value = config.step_value
    names = steps["samples"].fields
    samples = steps["samples"](**{name: value(name) for name in names})
    given = {n: value(n) for n in steps["dense"].fields} | {"epochs": 3, "seed": 0}
    dense = steps["dense"](samples, **given)
    assert len(dense["history"]) == 3 and dense["facts"]["trained_here"].item()
    given = {n: value(n) for n in steps["compressed"].fields}
    skipped = steps["compressed"](
        samples, dense, method=f"+{NET}:fussy", ratio=2.0, bits=None, seed=0, **given
    )
    assert skipped["outcome"]["state"].item() == "skipped" and "files" not in skipped
    small = steps["compressed"](
        samples, dense, method="magnitude+int8", ratio=2.0, bits=8, seed=0, **given
    )
    assert set(small["files"]["file"]) == {"model.safetensors", "model.json", "load_model.py"}
    assert isinstance(small["outcome"], pd.DataFrame) and small["outcome"]["state"].item() == (
        "completed"
    )


def test_lazy_layers_are_compressed_like_others(study, tmp_path):
    net = tmp_path / "lazy.py"
    net.write_text(
        "from torch import nn\n"
        "def make(): return nn.Sequential(nn.LazyLinear(24), nn.ReLU(), nn.LazyLinear(3))\n"
    )
    config = plan_of(study, net, datasets=f"{NET}:data").config
    value, steps = config.step_value, study.steps

    def step(name, *tables, **settings):
        given = {n: value(n) for n in steps[name].fields}
        return steps[name](*tables, **{**given, "seed": 0, **settings})

    samples = step("samples")
    dense, again = (step("dense", samples, epochs=2) for _ in range(2))
    assert dense["history"].equals(again["history"])
    total = 4 * 24 + 24 + 24 * 3 + 3
    for method, ratio in (("magnitude", 2.0), ("gptq4", None), ("lottery", 2.0)):
        small = step(
            "compressed", samples, dense, method=method, ratio=ratio, bits=4, epochs=2,
            finetune_epochs=1,
        )  # fmt: skip
        assert small["outcome"]["state"].item() == "completed"
        write_folders(small, "files", tmp_path / method)
        loaded = load_model(load_object(f"{net}:make"), tmp_path / method)
        loaded(torch.zeros(2, 4))
        parts = list(loaded.parameters())
        assert sum(p.numel() for p in parts) == total
        if ratio:
            assert sum(int(p.count_nonzero()) for p in parts) == round(total / ratio)
        else:
            assert len(parts[0].unique()) < 24 * 4
