"""Study 24: one quick run, its steps as functions, its claims on tables with known answers."""

import numpy as np
import pandas as pd
import pytest
import torch

from overparam.datasets import DIGITS_FILE, TrainTest, digits
from overparam.errors import ConfigError
from overparam.evidence import judge
from overparam.store import Store
from overparam.studies.optimization import intrinsic_dimension as module
from overparam.studies.optimization.intrinsic_dimension import LARGER, POLE, WIDTHS, study
from overparam.study.sources import resolve_file

DIGITS = resolve_file(DIGITS_FILE)
RECIPE = {"epochs": 2, "batch_size": 50}
SEARCH = {"rates": (0.1,), "native_rates": (0.03, 0.1), "dense_limit": 2000}
SEEDS = list(range(5))


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return study.run(Store.open(tmp_path_factory.mktemp("store")))


def split(task, seeds=(0, 1), **fields):
    values = {
        "digits_file": DIGITS, "images": None, "labels": None, "train_size": 100,
        "test_size": 50, "pixel_order": 0, **fields,
    }  # fmt: skip
    return module.problems(task=task, seeds=seeds, **values)


def test_quick_decides_the_toy_claim_and_its_control_fails(quick) -> None:
    assert quick.ok
    verdicts = {v.claim.name: v for v in quick.verdicts}
    toy = verdicts.pop("toy_needs_ten")
    assert toy.verdict == "reproduced"
    assert toy.judgement.control_verdict == "contradicted"
    assert len(verdicts) == 5 and {v.verdict for v in verdicts.values()} == {"undecided"}


def test_the_tables_have_the_named_columns(quick) -> None:
    columns = ["problem", "model", "D", "d", "projection", "seed", "lr", "train_acc", "test_acc",
               "reward", "seconds"]  # fmt: skip
    assert set(columns) <= set(quick.tables("runs")["runs"].columns)
    columns = ["problem", "model", "D", "d_int90", "ci_low", "ci_high", "baseline", "mdl_bits"]
    assert set(columns) <= set(quick.tables("dimensions")["dimensions"].columns)
    columns = ["bits", "size_bytes", "ratio", "test_acc"]
    assert set(columns) <= set(quick.tables("quantised")["quantised"].columns)


def test_training_in_a_subspace_learns_digits(quick) -> None:
    runs = quick.tables("runs")["runs"].set_index(["projection", "d"])["test_acc"]
    assert 0.05 < runs["dense", 10] < 0.4 < runs["dense", 40] < runs["dense", 160]
    assert runs["none", 2410] > 0.9
    summary = quick.tables("dimensions")["dimensions"].set_index(["task", "criterion"])
    assert 80 <= summary.loc[("digits/32", "test_acc"), "d_int90"] <= 160
    codes = quick.tables("quantised")["quantised"]
    assert (codes["round_trip"] == 0).all()
    # Naming each of 1200 labels takes log2(10) bits; a code worth having is shorter.
    bound = summary.loc[("digits/32", "train_acc"), "mdl_bits"]
    assert 64 < bound < 1200 * np.log2(10)


def test_one_more_d_or_seed_retrains_nothing_of_the_grid(quick) -> None:
    plan = study.plan(dims=(10, 40, 80, 120, 160, 240), seeds=2)
    kept = {quick.plan.ref(cell) for cell in quick.plan.cells_of(study.steps["coarse"])}
    assert len(kept) == 5
    assert kept < {plan.ref(cell) for cell in plan.cells_of(study.steps["coarse"])}


def test_every_figure_is_drawn(quick) -> None:
    for figure in study.figures:
        values = {name: quick.plan.config.step_value(name) for name in figure.fields}
        chart = figure.function(*(quick.tables(name) for name in figure.inputs), **values)
        assert chart.to_dict()["$schema"]


def test_claims_about_what_was_not_run_decide_nothing(quick, judged_without) -> None:
    found = judged_without(quick, task=[POLE], dim=[10])
    assert found.pop("toy_needs_ten").verdict in ("void", "inconclusive")
    assert {judgement.verdict for judgement in found.values()} <= {"void", "undecided"}


def test_shuffled_copies_hold_the_same_pixels_and_labels() -> None:
    plain, pixels, labels = (
        split(f"{problem}/32") for problem in ("digits", "shuffled-pixels", "shuffled-labels")
    )
    a, b, c = (TrainTest.of(tables, 1) for tables in (plain, pixels, labels))
    order = [int((b.x == a.x[:, [j]]).all(0).nonzero()[0]) for j in (20, 34, 43)]
    assert torch.equal(b.x_test[:, order], a.x_test[:, [20, 34, 43]])
    assert not torch.equal(a.x, b.x) and torch.equal(a.x.sort(1)[0], b.x.sort(1)[0])
    assert torch.equal(a.x, c.x) and not torch.equal(a.y, c.y)
    assert torch.equal(a.y.bincount(), c.y.bincount()) and torch.equal(a.y_test, c.y_test)
    assert len(a.y_test) == len(digits().y) - 100 and float(a.x.max()) == 1.0


def test_own_images_and_mnist1d(tmp_path) -> None:
    x = np.random.Generator(np.random.Philox(key=0)).random((160, 6, 7, 3), dtype=np.float32)
    np.save(tmp_path / "images.npy", x)
    np.save(tmp_path / "labels.npy", np.arange(160) % 4)
    files = {"images": tmp_path / "images.npy", "labels": tmp_path / "labels.npy"}
    own = TrainTest.of(split("own/conv", (0,), **files), 0)
    assert own.x.shape == (100, 3, 6, 7) and own.y_test.shape == (60,)
    assert torch.allclose(own.x.sum(), torch.from_numpy(x).sum(), rtol=0.5)
    assert module.network("own/conv", own)(own.x).shape == (100, 4)
    assert module.network("own/5x3", own)(own.x).shape == (100, 4)
    signals = TrainTest.of(split("mnist1d/100x2", (0,)), 0)
    assert signals.x.shape == (100, 40) and signals.x_test.shape == (50, 40)
    assert module.network("mnist1d/conv", signals)(signals.x).shape == (100, 10)
    np.save(tmp_path / "images.npy", x[..., 0])
    with pytest.raises(ValueError, match=r"allowed: \(N, H, W, C\)"):
        split("own/conv", (0,), **files)


@pytest.mark.parametrize(
    ("task", "kind", "sizes"),
    [
        ("digits/32", "fastfood", 2410),
        ("digits/conv", "dense", 1898),
        ("digits/32/native", "coordinates", 2410),
    ],
)
def test_the_search_extends_the_grid_and_every_run_is_quantised(task, kind, sizes) -> None:
    problems = split(task)
    rates = SEARCH["native_rates"] if task.endswith("native") else SEARCH["rates"]
    coarse = [
        module.coarse(problems, task=task, seed=s, dims=(3, 30), **SEARCH, **RECIPE)["coarse"]
        .assign(task=task, seed=s)
        for s in (0, 1)
    ]  # fmt: skip
    direct = module.direct(problems, task=task, seeds=(0, 1), direct_rate=0.01, **RECIPE)
    # A baseline that no subspace reaches sends the search to the end of more_dims.
    out_of_reach = {"runs": direct["runs"].assign(test_acc=[1.0, 1.1])}
    refined = module.refined(
        problems, out_of_reach, pd.concat(coarse, ignore_index=True), task=task, seeds=(0, 1),
        more_dims=(50, 60), resolution=0.1, **SEARCH, **RECIPE,
    )["refined"]  # fmt: skip
    assert set(refined["projection"]) == {kind} and set(refined["D"]) == {sizes}
    assert len(refined) == 2 * 4 * len(rates)
    assert set(refined["dim"]) == {3, 30, 50, 60}
    coded = module.quantised(
        problems, {"refined": refined}, task=task, seed=1, bits=(8,)
    )["quantised"]  # fmt: skip
    exact = coded[coded["bits"] == 32].set_index(["dim", "lr"])["test_acc"]
    own = refined[refined["seed"] == 1].set_index(["dim", "lr"])["test_acc"]
    assert np.allclose(exact.sort_index(), own.sort_index(), atol=0.002)
    assert (coded["round_trip"] == 0).all()


def test_baseline_below_chance_is_refused() -> None:
    problems = split("digits/32", (0,))
    coarse = module.coarse(problems, task="digits/32", seed=0, dims=(3,), **SEARCH, **RECIPE)
    baseline = {"runs": pd.DataFrame({"seed": [0], "train_acc": 0.05, "test_acc": 0.05})}
    with pytest.raises(ValueError, match=r"above chance = 0\.1"):
        module.refined(
            problems, baseline, coarse["coarse"].assign(seed=0, task="digits/32"),
            task="digits/32", seeds=(0,), more_dims=(), resolution=1.0, **SEARCH, **RECIPE,
        )  # fmt: skip


def by_seed(**d_int: float) -> dict[str, pd.DataFrame]:
    """A world in which d_int of each task is as given, times 1 +- 2 % over five seeds."""
    world = {
        **dict.fromkeys(WIDTHS, 110.0), **{f"{t}/native": 480.0 for t in LARGER},
        "digits/conv": 100.0, "shuffled-pixels/100x2": 110.0, "shuffled-pixels/conv": 150.0,
        "shuffled-labels/100x2": 600.0, POLE: 4.0, **d_int,
    }  # fmt: skip
    full = {"digits/32": 2410, "digits/200x2": 55210, "digits/400x2": 190410, POLE: 1249}
    rows = []
    for number, (task, value) in enumerate(world.items()):
        values = value * (1 + 0.02 * np.sin(np.array(SEEDS) + number))
        for criterion in ("test_acc", "train_acc", "reward"):
            rows.append(pd.DataFrame({
                "task": task, "criterion": criterion, "D": full.get(task[:12], 17610),
                "seed": SEEDS, "d_int": values, "at_least": values,
            }))  # fmt: skip
    return {"by_seed": pd.concat(rows, ignore_index=True)}


def verdict(name, *tables):
    claim = next(claim for claim in study.claims if claim.name == name)
    judged = judge(claim(*tables, arm=claim.arm), claim(*tables, arm=claim.control))
    return judged.verdict, judged.control_verdict


RIVALS = pd.DataFrame(
    {"seed": SEEDS * 2, "method": ["random"] * 5 + ["small"] * 5, "test_acc": 0.9}
).assign(test_acc=lambda t: t["test_acc"] - 0.3 * (t["method"] == "small") + 0.01 * t["seed"])


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("far_smaller", {}, "reproduced"),
        ("far_smaller", {"digits/100x2": 1000.0, "digits/100x2/native": 9000.0}, "contradicted"),
        ("far_smaller", {f"{task}/native": 120.0 for task in LARGER}, "void"),
        ("same_for_all_widths", {}, "reproduced"),
        ("same_for_all_widths", {"digits/400x2": 300.0}, "contradicted"),
        ("ladder", {}, "reproduced"),
        ("ladder", {POLE: 20.0}, "contradicted"),
        ("ladder", {"shuffled-labels/100x2": 150.0}, "contradicted"),
        ("ladder", {"shuffled-labels/100x2": 110.0}, "void"),
        ("pixel_order_matters", {}, "reproduced"),
        ("pixel_order_matters", {"shuffled-pixels/conv": 90.0}, "contradicted"),
        ("pixel_order_matters", {"shuffled-pixels/100x2": 200.0}, "contradicted"),
    ],
)
def test_claims_say_what_holds_and_their_controls_fail(name, change, expected) -> None:
    tables = [by_seed(**change)]
    if name == "same_for_all_widths":
        tables.append({"rivals": RIVALS})
    found, control = verdict(name, *tables)
    assert found == expected
    if expected == "reproduced":
        assert control == "contradicted"


@pytest.mark.parametrize(
    ("name", "control"),
    [("far_smaller", "digits/100x2/native"), ("pixel_order_matters", "shuffled-labels/100x2")],
)
def test_a_control_that_was_not_run_has_not_failed(name, control) -> None:
    world = by_seed()["by_seed"]
    assert verdict(name, {"by_seed": world[world["task"] != control]})[0] in (
        "void",
        "inconclusive",
    )


def test_small_nets_that_were_not_run_have_not_failed() -> None:
    alone = {"rivals": RIVALS[RIVALS["method"] == "random"]}
    assert verdict("same_for_all_widths", by_seed(), alone)[0] in ("void", "inconclusive")


def test_compression_claim_and_its_control() -> None:
    rows = [(s, bits, 32 * 55210 / (bits * 120 + 64), acc) for s in SEEDS
            for bits, acc in ((32, 0.91), (8, 0.90 + 0.002 * s), (4, 0.5))]  # fmt: skip
    coded = pd.DataFrame(rows, columns=["seed", "bits", "ratio", "test_acc"])
    coded = coded.assign(task="digits/200x2", round_trip=0.0)
    full = pd.DataFrame({"seed": SEEDS, "ratio": 32 / 6, "test_acc": 0.97, "task": "digits/200x2"})
    base = pd.DataFrame({"seed": SEEDS, "test_acc": 0.98, "task": "digits/200x2"})
    tables = {"quantised": coded}, {"quantised_full": full}, {"runs": base}
    assert verdict("compresses", *tables) == ("reproduced", "contradicted")
    lossy = {"quantised": coded.assign(round_trip=1e-7)}
    assert verdict("compresses", lossy, *tables[1:])[0] == "contradicted"
    poor = {"quantised": coded.assign(ratio=50.0)}
    assert verdict("compresses", poor, *tables[1:])[0] == "contradicted"


def test_an_unreached_threshold_is_a_lower_bound_for_rivals_alone() -> None:
    world = by_seed()["by_seed"]
    unreached = world["task"] == "digits/100x2/native"
    lost = {"by_seed": world.assign(d_int=world["d_int"].mask(unreached))}
    assert verdict("far_smaller", lost)[0] == "reproduced"
    own = world["task"] == "digits/100x2"
    lost = {"by_seed": world.assign(d_int=world["d_int"].mask(own))}
    assert verdict("far_smaller", lost)[0] == "inconclusive"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": ("digits/wide",)}, "tasks"),
        ({"tasks": ("letters/32",)}, "tasks"),
        ({"dims": (40, 10)}, "must increase"),
        ({"dims": (10, 0)}, "dims"),
        ({"dims": (10, 400), "more_dims": (320,)}, "must increase"),
        ({"pole_dims": (4, 4)}, "must increase"),
        ({"compared_tasks": ("digits/64",)}, "allowed: those of tasks"),
        ({"tasks": ("own/32",), "reference_tasks": ("own/32",), "compared_tasks": ("own/32",)},
         "needs images"),
        ({"images": "missing.npy"}, "there is no file"),
        ({"bits": (1,)}, "bits"),
        ({"rates": (0.0,)}, "rates"),
        ({"resolution": 0}, "resolution"),
    ],
)  # fmt: skip
def test_bad_configs_are_refused_before_anything_runs(fields, message) -> None:
    with pytest.raises(ConfigError, match=message):
        study.plan(**fields)


def test_tasks_alone_may_be_given() -> None:
    config = study.plan(tasks=("mnist1d/32", "digits/100x2")).config
    assert config.reference_tasks == config.compared_tasks == ("mnist1d/32",)


def test_a_dimension_above_d_names_what_is_allowed() -> None:
    problems = split("digits/1", (0,))
    with pytest.raises(ValueError, match=r"\[1, 85\]"):
        module.coarse(problems, task="digits/1", seed=0, dims=(90,), **SEARCH, **RECIPE)
