"""Study 58: steps as plain functions, the quick profile end to end, verdicts and controls."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from overparam.adapt import METHODS
from overparam.datasets import member_samples
from overparam.errors import ConfigError, StepFailed
from overparam.evidence import judge
from overparam.models import seeded
from overparam.reporting.figures import draw_figures
from overparam.store import Store, Tables, Weights
from overparam.studies.adaptation import scale_and_shift as module
from overparam.studies.adaptation.scale_and_shift import (
    AXIS,
    Config,
    adapted,
    data,
    gap,
    merged,
    new_heads,
    results,
    robustness,
    runs,
    study,
    targets,
    tuned,
)
from overparam.studies.bases.digit_nets import network
from overparam.studies.bases.digit_nets import study as base_study
from overparam.training import batch_orders, cosine

SEEDS = (0, 1)
CELL = {"family": "mlp", "task": "inverted", "n_train": 20}
KNOBS = {
    "steps": 4,
    "batch_size": 10,
    "full_rates": (3e-4, 1e-3, 3e-3),
    "tuning_rates": (1e-2, 3e-3),
    "weight_decay": 5e-5,
    "shallow_prompts": 2,
}


def base_of(family, seeds=SEEDS):
    """Untrained networks in place of the pretrained ones."""
    nets = [({"seed": s}, seeded(lambda: network(family), s).state_dict()) for s in seeds]
    return Tables.of({"weights": Weights.stack(nets)})


def small_data(seeds=SEEDS, task="inverted", own_file=None, own_val=5):
    """Training images, and every tenth of the others."""
    files = {"digits_file": study.config().step_value("digits_file"), "own_file": own_file}
    table = data(task=task, n_train=20, seeds=seeds, own_val=own_val, **files)["data"]
    some = [rows if part == "train" else rows[::10] for (_, part), rows in table.groupby(
        ["seed", "part"], sort=False)]  # fmt: skip
    return pd.concat(some, ignore_index=True)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return study.run(Store.open(tmp_path_factory.mktemp("scale-and-shift")))


@pytest.fixture(scope="module")
def mlp():
    """What the steps need of two seeds: base, data, and the outcome of SSF and full tuning."""
    base, table = base_of("mlp"), small_data()
    parts = []
    for method in ("ssf", "full"):
        outcome = tuned(base, table, **CELL, method=method, seeds=SEEDS, **KNOBS)
        named = {name: outcome.arrow(name) for name in outcome}
        parts.append(Tables.of(named, cell={**CELL, "method": method}))
    return base, table, Tables.concat(parts)


def test_quick_decides_that_merging_costs_nothing(quick):
    verdicts = {v.claim.name: v for v in quick.verdicts}
    free = verdicts.pop("free_at_inference")
    modules, parameters, _float32, float64 = free.judgement.arm
    # In float32 outputs of size 20 differ by 2e-5, from rounding: the claim's 1e-5 does not hold.
    assert modules.inside and parameters.inside and float64.inside
    assert free.verdict in ("reproduced", "contradicted")
    assert free.judgement.control_verdict == "contradicted"
    assert {v.verdict for v in verdicts.values()} == {"undecided"}


def test_quick_has_the_tables_of_the_spec(quick):
    table = quick.tables("tuned")["runs"]
    wanted = {*AXIS, "method", "n_params", "lr", "val_acc", "test_acc", "chosen", "backbone_params"}
    assert wanted <= set(table.columns)
    assert (table.groupby([*AXIS, "method"])["chosen"].sum() == 1).all()
    best = table.loc[table.groupby([*AXIS, "method"])["val_acc"].idxmax()]
    assert best["chosen"].all()
    ssf = table[table["method"] == "ssf"]
    assert (ssf["n_params"] == 2304).all() and (ssf["backbone_params"] == 71104).all()
    chosen = quick.tables("results")["results"].set_index(["task", "method"])["test_acc"]
    for task in ("inverted", "checkerboard"):
        assert chosen[task, "ssf"] > chosen[task, "linear"]
        assert chosen[task, "full-default"] <= 1
    merge = quick.tables("merged")["merge"]
    plain = merge[merge["form"] == "merged"]
    assert (plain["params_after"] == plain["params_before"]).all()
    assert plain["max_abs_diff"].max() < 1e-4 and plain["max_abs_diff_float64"].max() < 1e-12
    harder = quick.tables("robustness")["robustness"]
    assert len(harder) == 2 * 4 * 9


def test_latency_is_left_out_when_two_runs_are_compared():
    assert set(merged.volatile) == {"seconds", "ms_before", "ms_after", "latency_ratio"}


def test_every_figure_is_drawn(quick):
    figures = draw_figures(quick.plan, quick.store)
    assert len(figures) == 4
    assert (figures["error"] == "").all() and (figures["note"] == "").all()


def test_claims_about_what_was_not_run_decide_nothing(quick, judged_without):
    found = judged_without(quick, method=["linear"])
    assert not any(part.defined for part in found["matches_full"].arm)
    assert {found[name].verdict for name in ("beats_light_tuning", "works_everywhere")} == {"void"}


def test_a_member_equals_a_plain_loop_at_its_own_rate(mlp):
    """Seed 1 at the smaller rate of SSF, trained by hand with torch's own optimiser."""
    base, table, _ = mlp
    knobs = KNOBS | {"tuning_rates": (3e-3, 1e-2)}
    outcome = tuned(base, table, **CELL, method="ssf", seeds=SEEDS, **knobs)["runs"]
    net = module.prepared(new_heads(base, data_tables(table), "mlp", SEEDS), "ssf", SEEDS, 2)[1]
    x, y = (t[1] for t in member_samples(data_tables(table), SEEDS, "train", name="data"))
    parameters = [p for p in net.parameters() if p.requires_grad]
    descent = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 5e-5},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=3e-3,
    )
    losses = []
    for epoch, order in enumerate(batch_orders(20, 2, (1,))[0]):
        for group in descent.param_groups:
            group["lr"] = 3e-3 * cosine()(epoch, 2)
        for index in order.split(10):
            descent.zero_grad()
            loss = nn.functional.cross_entropy(net(x[index]), y[index])
            loss.backward()
            descent.step()
            losses.append(loss.item())
    row = outcome[(outcome["seed"] == 1) & (outcome["lr"] == 3e-3)]
    assert row["train_loss"].item() == pytest.approx(np.mean(losses[2:]), abs=1e-5)


def data_tables(table):
    return Tables.of({"data": table})


def test_only_what_a_method_trains_is_stored_and_the_rest_is_the_base(mlp):
    base, table, outcome = mlp
    names = set(outcome.weights("trained", method="ssf", seed=1))
    assert len(names) == 2 * 14 + 2 and {"head.weight", "norm.ssf.shift"} <= names
    bases = new_heads(base, data_tables(table), "mlp", SEEDS)
    nets = adapted(bases, outcome, "ssf", SEEDS, 2)
    x, y = member_samples(data_tables(table), SEEDS, "test", name="data")
    chosen = outcome["runs"].query("method == 'ssf' and chosen")
    for net, plain, images, labels, row in zip(nets, bases, x, y, chosen.itertuples(), strict=True):
        assert torch.equal(net.stem.weight, plain.stem.weight)
        share = (net(images).argmax(1) == labels).double().mean()
        assert share.item() == pytest.approx(row.test_acc, abs=1e-6)


def test_merging_and_robustness_as_plain_functions(mlp):
    base, table, outcome = mlp
    tables = merged(base, table, outcome, **CELL, method="ssf", seeds=SEEDS, shallow_prompts=2)
    merge = tables["merge"].set_index(["seed", "form"])
    assert (merge.xs("merged", level="form")["other_modules"] == 0).all()
    assert (merge.xs("unmerged", level="form")["params_after"] - 71754 == 2304).all()
    assert tables["factors"].groupby(["seed", "kind"])["count"].sum().tolist() == [1152] * 4
    harder = robustness(base, table, outcome, **CELL, seeds=SEEDS, shallow_prompts=2).only()
    assert len(harder) == 2 * 9 * len(SEEDS) and harder["test_acc"].between(0, 1).all()


def test_every_method_runs_on_the_transformer_at_equal_size():
    base, table = base_of("vit", (0,)), small_data((0,))
    cell, counts = CELL | {"family": "vit"}, {}
    for method in METHODS:
        frame = tuned(base, table, **cell, method=method, seeds=(0,), **KNOBS | {"steps": 1})
        counts[method] = frame["runs"]["n_params"].iloc[0]
        assert not frame["runs"]["diverged"].any()
    assert counts["ssf"] == counts["vpt-deep"] == 3648
    assert counts["ssf"] <= min(counts["adapter"], counts["lora"])
    assert counts["vpt-shallow"] == 2 * 48 and counts["ssf-final"] == 2 * 48


def outcomes(differences, seeds=5):
    """A table of results: accuracy of each method is that of linear probing plus its difference."""
    counts = {"ssf": 2304, "ssf-final": 128, "adapter": 2320, "full": 71104, "full-default": 71104}
    rng = np.random.default_rng(0)
    rows = [
        (seed, family, task, n, method, 0.8 + extra + rng.normal(0, 1e-3), counts.get(method, 0))
        for seed in range(seeds)
        for family in ("mlp", "vit")
        for task in ("inverted", "parity")
        for n in (60, 200)
        for method, extra in {"linear": 0.0, **differences}.items()
    ]
    frame = pd.DataFrame(rows, columns=[*AXIS, "method", "test_acc", "n_params"])
    return {"results": frame.assign(backbone_params=71104)}


def verdict(name, table, **options):
    claim = next(c for c in study.claims if c.name == name)
    return judge(
        claim.function(table, arm=claim.arm), claim.function(table, arm=claim.control), **options
    )


GOOD = {"full": 0.1, "full-default": 0.09, "ssf": 0.1, "ssf-final": 0.0, "adapter": 0.05}


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("matches_full", {}, "reproduced"),
        ("matches_full", {"ssf": 0.05}, "contradicted"),
        ("beats_light_tuning", {}, "reproduced"),
        ("beats_light_tuning", {"ssf": 0.01, "ssf-final": -0.05}, "contradicted"),
        ("beats_light_tuning", {"adapter": 0.12}, "contradicted"),
        ("beats_light_tuning", {"ssf-final": 0.1}, "void"),
        ("works_everywhere", {}, "reproduced"),
        ("works_everywhere", {"ssf": -0.05, "ssf-final": -0.1}, "contradicted"),
    ],
)
def test_claims_follow_the_numbers(name, change, expected):
    assert verdict(name, outcomes(GOOD | change)).verdict == expected


def test_families_count_alike_however_many_targets_they_have():
    table = outcomes({"ssf": 0.1})["results"]
    vit = table["family"] == "vit"
    table.loc[vit & (table["method"] == "ssf"), "test_acc"] += 0.1
    few = table[~vit | ((table["task"] == "parity") & (table["n_train"] == 60))]
    assert gap(few, "ssf", "linear").mean() == pytest.approx(0.15, abs=2e-3)


def test_the_unmerged_network_is_not_free():
    row = {"params_before": 10, "created": 0, "max_abs_diff": 0.0, "max_abs_diff_float64": 0.0}
    table = pd.DataFrame(
        [
            {**row, "form": "merged", "params_after": 10, "other_modules": 0},
            {**row, "form": "unmerged", "params_after": 14, "other_modules": 2},
        ]
    )
    judgement = verdict("free_at_inference", {"merge": table})
    assert (judgement.verdict, judgement.control_verdict) == ("reproduced", "contradicted")
    for wrong in (table.assign(max_abs_diff=2e-5), table.assign(max_abs_diff_float64=2e-12)):
        assert verdict("free_at_inference", {"merge": wrong}).verdict == "contradicted"


def test_cells_leave_prompts_to_the_transformer_and_costly_families_their_own_targets():
    full = Config.for_profile("full")
    cells = runs(full)
    assert {c["family"] for c in cells if c["method"].startswith("vpt")} == {"vit"}
    assert len(targets(full)) == 7 * 2 + 2 * 2
    every = Config.for_profile("full", {"costly_tasks": None, "costly_sizes": None})
    assert len(targets(every)) == 3 * 7 * 2


def test_the_middle_rate_is_the_default_of_full_tuning(mlp):
    found = results(mlp[2]).only()
    assert sorted(found["method"].unique()) == ["full", "full-default", "ssf"]
    assert (found.loc[found["method"] == "full-default", "lr"] == 1e-3).all()


def test_without_full_tuning_there_is_no_default_of_it(mlp):
    runs = mlp[2]["runs"].query("method == 'ssf'")
    found = results(Tables.of({"runs": runs})).only()
    assert found["method"].tolist() == ["ssf"] * len(SEEDS)


def test_the_digits_count_in_the_keys_of_data_and_source(tmp_path):
    """The same digits under another name change no key, one other pixel changes both."""
    content = gzip.decompress(study.config().step_value("digits_file").read_bytes())
    assert content.startswith(b"0,0,5,")
    for name, text in {"same": content, "other": b"1" + content[1:]}.items():
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(text, mtime=0))
        (tmp_path / f"{name}-again.csv.gz").write_bytes(gzip.compress(text, mtime=0))

    def key(of, step, name):
        plan = of.plan("quick", digits_file=str(tmp_path / f"{name}.csv.gz"))
        return {plan.key(cell) for cell in plan.cells if cell.step.name == step}

    for of, step in ((study, "data"), (base_study, "source")):
        assert key(of, step, "same") == key(of, step, "same-again")
        assert key(of, step, "same").isdisjoint(key(of, step, "other"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"tasks": ("inverted", "own")}, "own_file"),
        ({"tasks": ("upside-down",)}, "column-permutation"),
        ({"methods": ("sff",)}, "ssf"),
        ({"own_file": "nowhere.npz"}, "nowhere.npz"),
        ({"steps": 0}, "steps"),
    ],
)
def test_bad_config(setting, message):
    with pytest.raises(ConfigError, match=message):
        Config.for_profile("quick", setting)


def test_own_images_of_another_shape_are_refused_before_training(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "mine.npz"
    np.savez(file, x=rng.random((60, 3, 8, 8)), y=np.arange(60) % 3)
    store = Store.open(tmp_path / "store")
    with pytest.raises(StepFailed, match=r"mine.npz: images are \(3, 8, 8\); the network takes"):
        study.run(store, tasks=("own",), train_sizes=(20,), own_file=str(file), own_val=20)


def test_own_images_become_a_target(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "mine.npz"
    np.savez(file, x=rng.random((60, 1, 8, 8)), y=np.arange(60) % 3 + 5)
    table = small_data(task="own", own_file=file)
    assert set(table["y"]) == {0, 1, 2}
    nets = new_heads(base_of("mlp"), data_tables(table), "mlp", SEEDS)
    assert nets[0].head.out_features == 3
