"""Study 24: how few random directions of weight space does training need?"""

from typing import Annotated, ClassVar, Literal

import pandas as pd
from pydantic import PositiveFloat, PositiveInt, model_validator

from overparam.compress.subspace import (
    SOLVED,
    SubspaceSearch,
    affordable_projection,
    he_normal_members,
    quantise_full,
    quantise_runs,
    round_trip_error,
    search_policies,
    solve_group_sums,
    train_and_score,
    train_networks,
)
from overparam.datasets import (
    DIGITS_FILE,
    SHUFFLED_SOURCES,
    TrainTest,
    shuffled_splits,
    split_tables,
)
from overparam.evidence import by_seed, exact, mean, paired_difference, ratio, where, worst
from overparam.measure import at_best_rate, dimension_tables, equal_size_rivals, size_trend
from overparam.models import MLP, NETWORK_NAMES, named_network, stored_members
from overparam.reporting import charts
from overparam.store import Weights
from overparam.study import DataFile, Field, Paper, Study, StudyConfig
from overparam.training import Ensemble

# Of the full networks' performance, that a subspace must reach.
SHARE = 0.9
# Tasks that the claims compare.
WIDTHS = ("digits/32", "digits/100x2", "digits/200x2", "digits/400x2")
LARGER = ("digits/100x2", "digits/200x2")
POLE = "cart-pole/32x2"

PROBLEMS = "|".join(SHUFFLED_SOURCES)
Task = Annotated[str, Field(pattern=f"^({PROBLEMS})/({NETWORK_NAMES})(/native)?$")]
Projection = Literal["dense", "sparse", "fastfood"]
Bits = Annotated[int, Field(ge=2, le=16)]
Sizes = tuple[PositiveInt, ...]
Rates = tuple[PositiveFloat, ...]


class Config(StudyConfig):
    tasks: tuple[Task, ...] = Field(
        ("digits/32",),
        description="PROBLEM/MODEL of digits, shuffled-pixels, shuffled-labels, mnist1d or own; 32 "
        "(one hidden layer), 100x2 (two) or conv; /native after it trains native coordinates",
    )
    reference_tasks: tuple[str, ...] = Field(
        ("digits/32",), description="tasks of the small nets and of the quantised full net"
    )
    compared_tasks: tuple[str, ...] = Field(
        ("digits/32",), description="tasks on which kinds of P are compared"
    )
    digits_file: DataFile = Field(DIGITS_FILE, description="scikit-learn's digits")
    images: DataFile | None = Field(
        None, description="your images.npy, floating (N, H, W, C), for own/MODEL"
    )
    labels: DataFile | None = Field(None, description="your labels.npy, integers (N,)")
    train_size: int = Field(1200, ge=10, description="training samples")
    test_size: int = Field(597, ge=10, description="test samples of mnist1d")
    pixel_order: int = Field(0, ge=0, description="seed of the one order of shuffled pixels")
    dims: Sizes = Field((10, 40, 80, 120, 160), description="grid of d, increasing")
    more_dims: Sizes = Field((), description="further d, tried while none before them suffices")
    resolution: float = Field(3.0, gt=0, description="bisect until the bracket is this share wide")
    rates: Rates = Field((0.1,), description="learning rates of Adam for v")
    native_rates: Rates = Field(
        (0.03, 0.1, 0.3), description="learning rates for native coordinates; the best counts"
    )
    direct_rate: float = Field(1e-3, gt=0, description="learning rate of Adam for full networks")
    batch_size: int = Field(100, ge=1, description="samples per step")
    epochs: int = Field(40, ge=1, description="epochs of every training")
    dense_limit: int = Field(20_000, ge=1, description="D from which on fastfood replaces dense")
    projections: tuple[Projection, ...] = Field(("fastfood",), description="kinds of P to compare")
    compared_dim: int = Field(80, ge=1, description="d at which they are compared")
    small_widths: Sizes = Field((2,), description="hidden units of small nets")
    small_rates: Rates = Field((0.01,), description="learning rates of small nets; the best counts")
    bits: tuple[Bits, ...] = Field((16, 8, 6, 4), description="bits of a quantised coordinate")
    toy_dims: Sizes = Field((9, 10), description="d of the toy problem")
    toy_draws: int = Field(5, ge=1, description="draws of P of the toy problem")
    pole_dims: Sizes = Field((8,), description="d of cart-pole, increasing")
    population: int = Field(64, ge=10, description="candidates per generation, cart-pole")
    generations: int = Field(2, ge=1, description="generations of it")
    episodes: int = Field(5, ge=1, description="episodes per candidate")
    profiles: ClassVar = {
        "quick": {"seeds": 1},
        "full": {
            "tasks": (
                *WIDTHS, "digits/conv", "digits/100x2/native", "digits/200x2/native",
                "shuffled-pixels/100x2", "shuffled-pixels/conv", "shuffled-labels/100x2",
                "mnist1d/100x2",
            ),
            "dims": (10, 40, 80, 120, 160, 240),
            "more_dims": (320, 480, 640),
            "resolution": 0.1,
            "reference_tasks": ("digits/200x2",),
            "compared_tasks": ("digits/200x2",),
            "projections": ("dense", "sparse", "fastfood"),
            "small_widths": (1, 2, 3, 4, 6, 8),
            "small_rates": (0.003, 0.01, 0.03),
            "toy_dims": (5, 8, 9, 10, 15),
            "pole_dims": (1, 2, 3, 4, 6, 8, 16),
            "generations": 25,
        },
    }  # fmt: skip
    needs: ClassVar = {"own": ("images", "labels")}
    within: ClassVar = {"reference_tasks": "tasks", "compared_tasks": "tasks"}

    @model_validator(mode="after")
    def _grids_increase(self):
        grids = {"dims": (*self.dims, *self.more_dims), "pole_dims": self.pole_dims}
        for name, grid in grids.items():
            if list(grid) != sorted(set(grid)):
                raise ValueError(f"{name} (and more_dims after it) must increase, got {grid}")
        return self


study = Study(
    "intrinsic-dimension",
    theme="optimization",
    config=Config,
    question="How few random directions of weight space does training need to reach 90 % of the "
    "full network's performance, and does that number depend on the network or on the problem?",
    paper=Paper(
        title="Measuring the Intrinsic Dimension of Objective Landscapes",
        authors="Chunyuan Li, Heerad Farkhoor, Rosanne Liu, Jason Yosinski",
        venue="ICLR",
        year=2018,
        arxiv="1804.08838",
        code="https://github.com/uber-research/intrinsic-dimension",
    ),
)


def parts(task):
    """Problem and model of a task, and whether native coordinates are trained."""
    problem, model, *native = task.split("/")
    return problem, model, bool(native)


def counted(task):
    """The accuracy that counts: labels in random order can only be learned by heart."""
    return "train_acc" if parts(task)[0] == "shuffled-labels" else "test_acc"


def network(task, data):
    """The architecture of a task, for the inputs and classes of its samples."""
    return named_network(parts(task)[1], data.input_shape, data.classes)


def search(task, data, rates, native_rates, dense_limit, epochs, batch_size):
    """The search for a task's smallest d: its network, kind of P and training."""
    model = network(task, data)
    kind = affordable_projection(model, dense_limit)
    if parts(task)[2]:
        kind, rates = "coordinates", native_rates
    return SubspaceSearch(model, kind, rates, epochs, batch_size)


@study.generate(each={"task": "tasks", "seed": "seeds"}, batch=16)
def problems(*, task, seeds, digits_file, images, labels, train_size, test_size, pixel_order):
    """Train and test sets; pixels or training labels shuffled where the problem says so."""
    sizes = {"train_size": train_size, "test_size": test_size, "pixel_order": pixel_order}
    files = {"digits_file": digits_file, "images": images, "labels": labels}
    return split_tables(shuffled_splits(parts(task)[0], seeds, **sizes, **files))


@study.train(each={"task": "tasks", "seed": "seeds"}, batch=16)
def direct(problems, *, task, seeds, direct_rate, epochs, batch_size, progress):
    """The full networks, the baselines; they start from the same theta0 as the subspaces."""
    data = TrainTest.of(problems, *seeds)
    nets = Ensemble(he_normal_members(network(task, data), seeds))
    schedule = {"epochs": epochs, "batch_size": batch_size, "progress": progress}
    runs = train_and_score(nets, data, direct_rate, order_seeds=seeds, **schedule)
    return {"runs": runs.assign(seed=seeds), "weights": Weights.by_seed(seeds, nets.states())}


@study.train(each={"task": "reference_tasks", "width": "small_widths", "seed": "seeds"}, batch=16)
def small(problems, *, task, width, seeds, small_rates, epochs, batch_size):
    """Direct nets with one narrow hidden layer, at each learning rate."""
    data = TrainTest.of(problems, *seeds)
    nets = he_normal_members(named_network(str(width), data.input_shape, data.classes), seeds)
    schedule = {"epochs": epochs, "batch_size": batch_size}
    return train_networks(nets, data, small_rates, seeds=seeds, **schedule)


@study.train(each={"task": "tasks", "seed": "seeds", "dim": "dims"}, batch=32)
def coarse(
    problems, *, task, seed, dims, rates, native_rates, dense_limit, epochs, batch_size, progress
):
    """v trained at the d of the grid, all d of a seed side by side."""
    data = TrainTest.of(problems, seed)
    found = search(task, data, rates, native_rates, dense_limit, epochs, batch_size)
    return found.grid(data, dims, seed=seed, progress=progress)


@study.train(each={"task": "tasks"})
def refined(
    problems, direct, coarse, *, task, seeds, more_dims, resolution, rates, native_rates,
    dense_limit, epochs, batch_size,
):  # fmt: skip
    """The grid's runs, and those of the bisection between last failure and first success."""
    data = {seed: TrainTest.of(problems, seed) for seed in seeds}
    found = search(task, data[seeds[0]], rates, native_rates, dense_limit, epochs, batch_size)
    runs, accuracy = coarse["coarse"].drop(columns="task"), counted(task)
    baseline = direct["runs"].set_index("seed")[accuracy]
    goal = {"more_dims": more_dims, "ratio": SHARE, "resolution": resolution}
    return found.refine(runs, data, accuracy, baseline, **goal)


@study.train(each={"task": "compared_tasks", "projection": "projections", "seed": "seeds"})
def compared(problems, *, task, projection, seed, compared_dim, rates, epochs, batch_size):
    """Kinds of P at one d."""
    data = TrainTest.of(problems, seed)
    found = SubspaceSearch(network(task, data), projection, rates[:1], epochs, batch_size)
    return found.grid(data, (compared_dim,), seed=seed).drop(columns="projection")


@study.train(each={"dim": "pole_dims", "seed": "seeds"}, batch=16)
def balanced(*, dim, seeds, population, generations, episodes):
    """Cart-pole: the cross-entropy method over R^d, then 100 fresh episodes at its answer."""
    effort = {"population": population, "generations": generations, "episodes": episodes}
    return search_policies(MLP((4, 32, 32, 1), "tanh"), dim, seeds=seeds, **effort)


@study.train
def toy(*, seed, toy_dims, toy_draws):
    """The toy problem, whose intrinsic dimension is 10, beside its closed-form minimum."""
    rows = [
        (dim, draw, *solve_group_sums(dim, seed=1000 * seed + draw))
        for dim in toy_dims
        for draw in range(toy_draws)
    ]
    return pd.DataFrame(rows, columns=["dim", "draw", "loss", "minimum"])


@study.compress(each={"task": "tasks", "seed": "seeds"})
def quantised(problems, refined, *, task, seed, bits):
    """Every trained v at fewer bits; the longest one also through a file and back."""
    data = TrainTest.of(problems, seed)
    model = network(task, data)
    runs = where(refined["refined"], seed=seed)
    longest = runs.loc[runs["dim"].idxmax()]
    error = round_trip_error(model, longest, data.x_test, seed=seed)
    return quantise_runs(model, data, runs, bits, seed=seed).assign(round_trip=error)


@study.compress(each={"task": "reference_tasks", "seed": "seeds"}, batch=16)
def quantised_full(problems, direct, *, task, seeds, bits):
    """The full networks with all weights at fewer bits."""
    data = TrainTest.of(problems, *seeds)
    nets = stored_members(lambda: network(task, data), direct, "weights", seeds)
    return quantise_full(nets, data, bits, seeds=seeds)


def named(table):
    """The table with the problem and the model of each task as columns."""
    problems, models, _ = zip(*map(parts, table["task"]), strict=True)
    return table.assign(problem=problems, model=models)


@study.evaluate
def runs(refined, direct, compared, balanced):
    """Every training as a row: subspaces, full networks (d = D), kinds of P, cart-pole."""
    sizes = refined["refined"].groupby("task")["D"].first()
    full = direct["runs"].assign(projection="none", D=direct["runs"]["task"].map(sizes))
    pole = balanced["balanced"].assign(task=POLE, projection="dense")
    tables = refined["refined"], full.assign(dim=full["D"]), compared["compared"], pole
    table = pd.concat([t.drop(columns="v", errors="ignore") for t in tables], ignore_index=True)
    return named(table.rename(columns={"dim": "d"}))


@study.evaluate
def dimensions(refined, direct, quantised, balanced):
    """d_int90 of each task, of the mean curve and seed by seed; d_int100 of cart-pole."""
    trained, codes = refined["refined"], quantised["quantised"]
    criteria = {t: dict.fromkeys([counted(t), "train_acc"]) for t in trained["task"].unique()}
    nets = dimension_tables(trained, criteria, direct["runs"], codes=codes, ratio=SHARE)
    poles, reward = balanced["balanced"].assign(task=POLE, lr=1.0), {POLE: ["reward"]}
    pole = dimension_tables(poles, reward, SOLVED, ratio=1.0, selection="reward")
    table, seeds = (pd.concat(both, ignore_index=True) for both in zip(nets, pole, strict=True))
    return {"dimensions": named(table.rename(columns={"d_int": "d_int90"})), "by_seed": seeds}


@study.evaluate
def rivals(refined, small, dimensions):
    """At d_int90: the subspaces, and the smallest direct net with at least as many numbers."""
    found = where(dimensions["dimensions"], criterion="test_acc").set_index("task")["d_int90"]
    return equal_size_rivals(refined["refined"], small["small"], found)


def d_int(dimensions, task, column="d_int", criterion="test_acc"):
    """One number of a task seed by seed; at_least is a lower bound where it was not reached."""
    return by_seed(dimensions["by_seed"], column, task=task, criterion=criterion)


@study.claim(
    "The intrinsic dimension is far smaller than the number of parameters",
    source="abstract; d_int90 <= D/20 for the two larger nets, while native coordinates need at "
    "least twice the d (a lower bound counts)",
    arm="random",
    control="native",
    decided_at="full",
)
def far_smaller(dimensions, *, arm):
    evidence = []
    for task in LARGER:
        native = d_int(dimensions, f"{task}/native", "at_least")
        # Without its control a claim is undefined: a control that was not run has not failed.
        own = d_int(dimensions, task).where(native.notna())
        found = own if arm == "random" else native
        share = found / d_int(dimensions, task, "D")
        beside = d_int(dimensions, task, "at_least")
        evidence += [
            mean(share, region=(None, 1 / 20), label=f"{task}: d_int90 / D"),
            ratio(found, beside, region=(None, 2), label=f"{task}: d_int90 to that of random"),
        ]
    return evidence


@study.claim(
    "The intrinsic dimension varies little with the width of the network",
    source="abstract; over widths with D ratio >= 20 max/min of d_int90 <= 1.6 and the slope of "
    "log d_int90 on log D within [-0.15, 0.15]; direct small nets are worse at d = d_int90",
    arm="random",
    control="small",
    decided_at="full",
)
def same_for_all_widths(dimensions, rivals, *, arm):
    sizes = pd.Series({task: d_int(dimensions, task, "D").iloc[0] for task in WIDTHS})
    found = pd.DataFrame({task: d_int(dimensions, task) for task in WIDTHS})
    trend = size_trend(sizes, found, least_span=20)
    largest, smallest = trend["largest"], trend["smallest"]
    accuracies = rivals["rivals"].pivot_table(index="seed", columns="method", values="test_acc")
    accuracies = accuracies.reindex(columns=["random", "small"]).dropna().reindex(found.index)
    less = "accuracy at d_int90, less that of random"
    return [
        ratio(largest, smallest, region=(None, 1.6), label="largest to smallest d_int90"),
        mean(trend["slope"], region=(-0.15, 0.15), label="slope of log d_int90 on log D"),
        paired_difference(accuracies[arm], accuracies["random"], region=(0, None), label=less),
    ]


@study.claim(
    "Cart-pole is far easier than digits, and shuffled labels are far harder",
    source="abstract (100 times); at this scale: median d_int of cart-pole <= 8, digits at least "
    "10 times that; shuffled labels over 2 times the clean ones (training accuracy)",
    arm="shuffled-labels",
    control="digits",
    decided_at="full",
)
def ladder(dimensions, *, arm):
    pole = d_int(dimensions, POLE, criterion="reward")
    reached = d_int(dimensions, "digits/100x2")
    clean = d_int(dimensions, "digits/100x2", criterion="train_acc")
    hard = d_int(dimensions, f"{arm}/100x2", "at_least", "train_acc")
    return [
        exact(pole.median(skipna=False), region=(None, 8), label="median d_int of cart-pole"),
        ratio(reached, pole, region=(10, None), label="digits to pole"),
        ratio(hard, clean, region=(2, None), label=f"{arm} to digits, training accuracy"),
    ]


@study.claim(
    "Fully connected nets do not care about the order of pixels, convolutional nets do",
    source="section on MNIST with shuffled pixels; ratio of d_int90 shuffled to unshuffled within "
    "[0.8, 1.25] for FC, over 1.1 for the conv net; shuffled labels are the control",
    arm="shuffled-pixels",
    control="shuffled-labels",
    decided_at="full",
)
def pixel_order_matters(dimensions, *, arm):
    criterion = "train_acc" if arm == "shuffled-labels" else "test_acc"
    labels = d_int(dimensions, "shuffled-labels/100x2", "at_least", "train_acc")
    fully = d_int(dimensions, f"{arm}/100x2", "at_least", criterion).where(labels.notna())
    plain = d_int(dimensions, "digits/100x2", criterion=criterion)
    conv = d_int(dimensions, "shuffled-pixels/conv", "at_least")
    plain_conv = d_int(dimensions, "digits/conv")
    return [
        ratio(fully, plain, region=(0.8, 1.25), label=f"fully connected, {arm} to plain"),
        ratio(conv, plain_conv, region=(1.1, None), label="conv net, pixels"),
    ]


@study.claim(
    "A seed and d numbers compress the network over 100 times",
    source="abstract (in some cases); best 32 D / (bits d + 64) at >= 90 % of the baseline's "
    "accuracy is >= 100 for 200x2, and a saved model has identical logits",
    arm="subspace",
    control="quantised full network",
    decided_at="full",
)
def compresses(quantised, quantised_full, direct, *, arm):
    task = "digits/200x2"
    coded = where(quantised["quantised"], task=task)
    full = where(quantised_full["quantised_full"], task=task)
    rows = coded if arm == "subspace" else full
    base = by_seed(direct["runs"], "test_acc", task=task)
    enough = rows[rows["test_acc"] >= SHARE * rows["seed"].map(base)]
    best = enough.groupby("seed")["ratio"].max().reindex(base.index)
    loss = coded.groupby("seed")["round_trip"].max().reindex(base.index)
    return [
        mean(best, region=(100, None), label="best compression ratio"),
        worst(loss, region=(None, 0), label="largest change of a logit by saving and loading"),
    ]


@study.claim(
    "Ten dimensions solve the toy problem of ten constraints, nine do not",
    source="section 2; loss below 1e-6 at d = 10 in all draws, median above 1e-2 at d = 9",
    arm="10",
    control="9",
)
def toy_needs_ten(toy, *, arm):
    found, nine = (where(toy["toy"], dim=dim)["loss"] for dim in (int(arm), 9))
    return [
        worst(found, region=(None, 1e-6), label=f"loss at d = {arm}, worst draw"),
        exact(nine.median(), region=(1e-2, None), label="median loss at d = 9"),
    ]


@study.figure("Performance against d", caption="Mean over seeds with its interval, best rate.")
def performance(runs):
    table = runs["runs"][runs["runs"]["reward"].isna() & (runs["runs"]["projection"] != "none")]
    by_heart = table["task"].map(counted) == "train_acc"
    table = table.assign(performance=table["test_acc"].mask(by_heart, table["train_acc"]))
    return charts.band(at_best_rate(table, ["task", "d"]), "d", "performance", "task", log_x=True)


@study.figure("d_int90 against D", caption="One point per seed; widths of one problem line up.")
def against_size(dimensions):
    table = where(dimensions["by_seed"], criterion="test_acc").dropna()
    kinds = [f"{p}/native" if native else p for p, _, native in map(parts, table["task"])]
    table = table.assign(problem=kinds)
    return charts.scatter(table, "D", "d_int", "problem", log_x=True, log_y=True)


@study.figure("Problem ladder", caption="Where a search ended unsolved, the largest d tried.")
def problem_ladder(dimensions):
    table = dimensions["by_seed"]
    other = (table["criterion"] == "train_acc") & (table["task"].map(counted) != "train_acc")
    return charts.bars(table[~other], "task", "at_least", title="intrinsic dimension, at least")


@study.figure("Accuracy against bytes", caption="Subspaces, small direct nets, quantised full net.")
def size_and_accuracy(quantised, quantised_full, small, *, reference_tasks):
    coded, nets = quantised["quantised"], small["small"]
    kinds = {
        "subspace": coded[coded["task"].isin(reference_tasks)],
        "small net": nets.assign(size_bytes=4 * nets["D"]),
        "full net, quantised": quantised_full["quantised_full"],
    }
    table = pd.concat([rows.assign(kind=kind) for kind, rows in kinds.items()])
    return charts.scatter(table, "size_bytes", "test_acc", "kind", log_x=True, x_title="bytes")


@study.figure("Kinds of projection at one d", caption="Mean over seeds with its interval.")
def projection_kinds(compared):
    return charts.bars(compared["compared"], "projection", "test_acc", "task")
