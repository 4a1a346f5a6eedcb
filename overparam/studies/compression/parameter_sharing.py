"""Study 52: under a fixed memory, share weights at random, prune, or take a smaller net?"""

from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd

from overparam.compress import (
    PRUNING,
    SHARING,
    load_table,
    method_bits,
    share_members,
    train_at_equal_memory,
    train_beside_dense,
    train_compressed,
)
from overparam.datasets import (
    DIGITS_FILE,
    Split,
    Standardizer,
    digits,
    member_samples,
    mnist1d,
    read_labelled,
    split_tables,
    stratified_split,
)
from overparam.evidence import by_seed, exact, mean, per_group
from overparam.measure import margin_over_best, sweep_stability
from overparam.models import MLP, VGGSmall, image_shape, seeded, stored_members
from overparam.reporting import charts
from overparam.store import Weights
from overparam.study import DataFile, Field, OneOf, Paper, Study, StudyConfig
from overparam.theory import FAMILIES, family_variances, vector_variances

METHODS = ("rps_stable", "roast", "hashed", *PRUNING, "small", "rps_frozen")
Task = Annotated[str, Field(pattern="^(digits|mnist1d|own)/(mlp|vgg)$")]
Method = Annotated[str, OneOf((*METHODS, "ltr", "hashed_scaled", "roast_scaled"))]
Sharing = Annotated[str, OneOf(tuple(SHARING))]
Compression = Annotated[float, Field(ge=1)]
# What sharing is compared with, in each setting.
SETTING = ["task", "compression"]
RIVALS = ("mag", "snip", "synflow", "grasp", "small")


class Config(StudyConfig):
    tasks: tuple[Task, ...] = Field(
        ("digits/mlp",),
        description="DATASET/MODEL: digits, mnist1d or own; mlp or vgg (small CNN, batch norm)",
    )
    digits_file: DataFile = Field(DIGITS_FILE, description="scikit-learn's digits")
    own_file: DataFile | None = Field(
        None, description="your .npz with x (N, C, H, W) float and y (N,) int, for own/MODEL"
    )
    train_size: int = Field(1000, ge=10, description="training samples of digits and of own data")
    hidden: int = Field(256, ge=1, description="width of the MLP's two hidden layers")
    methods: tuple[Method, ...] = Field(METHODS, description="ways to compress")
    compressions: tuple[Compression, ...] = Field(
        (1, 50, 500), description="c: weights per real weight"
    )
    init_scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1e-3, 1e-2, 0.05, 0.3, 1, 5), description="s: half-width of the shared numbers' start"
    )
    stability_compression: float = Field(20, ge=1, description="c of the sweep over init_scales")
    stability_methods: tuple[Sharing, ...] = Field(
        ("roast", "roast_scaled", "rps_stable", "rps_unscaled"),
        description="swept over init_scales",
    )
    epochs: int = Field(15, ge=1, description="epochs of every training")
    batch_size: int = Field(100, ge=1, description="samples per step")
    learning_rate: float = Field(0.1, gt=0, description="of SGD; x0.1 at 60 % and 85 %")
    rewind_epochs: int = Field(2, ge=1, description="epochs to the checkpoint LTR rewinds to")
    ltr_rounds: int = Field(5, ge=1, description="prune-and-rewind rounds of LTR")
    reference_tasks: tuple[Task, ...] = Field(
        ("digits/mlp",), description="tasks of the sweep over init_scales and of c = 1"
    )
    recovery_methods: tuple[Sharing, ...] = Field(
        ("rps_stable", "roast_scaled", "hashed_scaled"),
        description="sharing methods tried at c = 1",
    )
    memory: int = Field(64, ge=1, description="m of the variance comparison on synthetic vectors")
    profiles: ClassVar = {
        "quick": {},
        "full": {
            "tasks": ("digits/mlp", "digits/vgg", "mnist1d/mlp"),
            "methods": (*METHODS, "ltr"),
            "compressions": (1, 10, 50, 200, 500, 1000),
            "epochs": 40,
        },
    }
    needs: ClassVar = {"own": ("own_file",)}
    within: ClassVar = {"reference_tasks": "tasks"}


study = Study(
    "parameter-sharing",
    theme="compression",
    config=Config,
    question="With memory for m weights, is it better to prune a network, to take a smaller one, "
    "or to let many virtual weights share the m real ones through a hash?",
    paper=Paper(
        title="In defense of parameter sharing for model-compression",
        authors="Aditya Desai, Anshumali Shrivastava",
        venue="ICLR",
        year=2024,
        arxiv="2310.11611",
        code="https://github.com/apd10/FakeRoast",
    ),
)


def network(task, hidden, x, y, width=None):
    """The architecture of a task; ``width`` makes it narrower (the baseline ``small``)."""
    shape, classes = tuple(x.shape[2:]), int(y.max()) + 1
    if task.endswith("/vgg"):
        return VGGSmall(image_shape(shape), width=width or 16, classes=classes)
    hidden = width or hidden
    return MLP((int(np.prod(shape)), hidden, hidden, classes))


def trained(splits, seeds, models, **options):
    """Train members by the paper's recipe; a seed's data order is the same for all methods.

    Returns the ensemble, and a row per member: test accuracy, last training loss, divergence.
    """
    samples = {part: member_samples(splits, seeds, part) for part in ("train", "test")}
    recipe = {"momentum": 0.9, "weight_decay": 1e-4, "drops": (0.6, 0.85)}
    return train_compressed(models, seeds, **samples, **recipe, **options)


@study.generate(each={"task": "tasks", "seed": "seeds"}, batch=16)
def splits(*, task, seeds, digits_file, own_file, train_size):
    """Train and test sets, standardised by the training set; MNIST-1D comes split."""
    if task.startswith("mnist1d/"):
        return split_tables({seed: mnist1d(seed=seed) for seed in seeds})
    data = digits(digits_file) if task.startswith("digits/") else read_labelled(own_file)
    found = {}
    for seed in seeds:
        train, test = stratified_split(data.y, (train_size, -1), seed)
        scale = Standardizer.fit(data.x[train])
        x_train, x_test = scale(data.x[train]), scale(data.x[test])
        found[seed] = Split(x_train, data.y[train], x_test, data.y[test], data.meta)
    return split_tables(found)


@study.train(each={"task": "tasks", "seed": "seeds"}, batch=16)
def dense(
    splits, *, task, seeds, hidden, epochs, rewind_epochs, batch_size, learning_rate, progress
):
    """The dense networks: their start, the early checkpoint that tickets rewind to, the outcome."""
    recipe = {"batch_size": batch_size, "learning_rate": learning_rate}
    make = partial(network, task, hidden, *member_samples(splits, seeds, "train"))
    start = [seeded(make, seed) for seed in seeds]
    early, _ = trained(splits, seeds, start, epochs=rewind_epochs, **recipe)
    _, runs = trained(splits, seeds, start, epochs=epochs, progress=progress, **recipe)
    return {
        "runs": runs,
        "start": Weights.by_seed(seeds, [net.state_dict() for net in start]),
        "early": Weights.by_seed(seeds, early.states()),
    }


@study.compress(
    each={"task": "tasks", "method": "methods", "compression": "compressions", "seed": "seeds"},
    batch=16,
)
def compressed(
    splits, dense, *, task, method, compression, seeds, hidden, epochs, batch_size,
    learning_rate, ltr_rounds, progress,
):  # fmt: skip
    """Compress to m = n / c weights by one method, train, test."""
    recipe = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    x, y = member_samples(splits, seeds, "train")
    make = partial(network, task, hidden, x, y)
    found = train_at_equal_memory(
        method,
        stored_members(make, dense, "early" if method == "ltr" else "start", seeds),
        compression,
        partial(trained, splits, seeds, progress=progress, **recipe),
        dense=dense["runs"].drop(columns="task"),
        x=x[:, :batch_size],
        y=y[:, :batch_size],
        seeds=seeds,
        narrower=make,
        rounds=ltr_rounds,
    )
    size = {"weights": found.weights, "memory": found.memory, "epochs": epochs}
    return found.runs.assign(**size, dead_layers=found.dead_layers)


@study.compress(
    each={"task": "reference_tasks", "method": "stability_methods", "seed": "seeds"}, batch=16
)
def stability(
    splits, dense, *, task, method, seeds, hidden, stability_compression, init_scales, epochs,
    batch_size, learning_rate, progress,
):  # fmt: skip
    """One sharing method from every half-width s of the shared numbers' start."""
    recipe = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    make = partial(network, task, hidden, *member_samples(splits, seeds, "train"))
    start = stored_members(make, dense, "start", seeds)
    share = partial(share_members, method, start, stability_compression, seeds=seeds)
    runs = [
        trained(splits, seeds, share(init_scale=scale), **recipe)[1].assign(init_scale=scale)
        for scale in progress(init_scales, description="init scales")
    ]
    return pd.concat(runs, ignore_index=True)


@study.compress(
    each={"task": "reference_tasks", "method": "recovery_methods", "seed": "seeds"}, batch=16
)
def recovered(
    splits, dense, *, task, method, seeds, hidden, epochs, batch_size, learning_rate, progress
):
    """Sharing at c = 1, beside a dense net that starts from the shared net's own weights."""
    recipe = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    make = partial(network, task, hidden, *member_samples(splits, seeds, "train"))
    shared = share_members(method, stored_members(make, dense, "start", seeds), 1, seeds=seeds)
    train = partial(trained, splits, seeds, progress=progress, **recipe)
    return {"runs": train_beside_dense(shared, train), "loads": load_table(shared, seeds)}


@study.evaluate
def accuracies(dense, compressed):
    """Every run with its memory in bits: sparse nets store positions, shared ones none."""
    runs = compressed["compressed"]
    sizes = runs[["method", "weights", "memory"]].itertuples(index=False)
    full = dense["runs"][["task", "seed", "test_acc"]].rename(columns={"test_acc": "dense_acc"})
    return runs.assign(bits=[method_bits(*size) for size in sizes]).merge(full, on=["task", "seed"])


@study.evaluate
def variances(*, memory, digits_file, seed):
    """Variance of an inner product from m numbers: keep m coordinates, or share m buckets."""
    images = digits(digits_file).x.astype(float)
    m = images.shape[1] // 8
    return pd.DataFrame(
        [
            *family_variances(memory, n=16 * memory, draws=200, seed=seed),
            *vector_variances("digits", images, m),
            *vector_variances("constant", np.ones((2, images.shape[1])), m),
        ]
    )


@study.claim(
    "Sharing matches or beats pruning and smaller nets, most clearly at high compression",
    source="abstract; at c = 500 the lower end of the paired difference to the best rival is above "
    "0, at c <= 50 above -0.02",
    arm="rps_stable",
    control="random",
)
def beats_pruning(accuracies, *, arm):
    def evidence(runs):
        low = 0 if runs["compression"].iloc[0] == 500 else -0.02
        margin, best = margin_over_best(runs, "test_acc", arm, RIVALS)
        return mean(margin, region=(low, None), label=f"less {best}")

    runs = accuracies["accuracies"]
    runs = runs[(runs["compression"] <= 50) | (runs["compression"] == 500)]
    return per_group(runs, SETTING, evidence)


@study.claim(
    "Sharing beats even lottery-ticket rewinding at high compression",
    source="abstract; paired difference at c = 500 and 1000 above 0",
    arm="rps_stable",
    control="random",
    decided_at="full",
)
def beats_lottery_tickets(accuracies, *, arm):
    def evidence(runs):
        ours, theirs = (by_seed(runs, "test_acc", method=method) for method in (arm, "ltr"))
        return mean(ours - theirs, region=(0, None))

    runs = accuracies["accuracies"]
    return per_group(runs[runs["compression"] >= 500], SETTING, evidence)


@study.claim(
    "ROAST is unstable in the scale of its start, STABLE-RPS is not",
    source="Section on stability; share of starts s that diverge or end 0.05 below the method's "
    "best: 0 for STABLE-RPS, at least half for ROAST; its accuracies spread less than 0.01",
    arm="rps_stable",
    control="rps_unscaled",
)
def stable_in_scale(stability, *, arm):
    def evidence(runs):
        found = sweep_stability(runs, "init_scale", "test_acc", tolerance=0.05)
        failed, spread = (by_seed(found, what, method=arm) for what in ("failed", "spread"))
        roast = by_seed(found, "failed", method="roast")
        return [
            mean(failed, region=(None, 0), label="starts that fail"),
            mean(spread, region=(None, 0.01), label="spread of accuracy"),
            mean(roast, region=(0.5, None), label="share of starts where ROAST fails"),
        ]

    return per_group(stability["stability"], "task", evidence)


@study.claim(
    "STABLE-RPS recovers the dense net at 1x, ROAST does not",
    source="Section on Pareto-continuity; accuracies at c = 1 within 0.01 of a dense net from the "
    "same weights, every bucket used once; ROAST leaves over 30 % of its buckets empty",
    arm="rps_stable",
    control="roast_scaled",
)
def recovers_dense(recovered, *, arm):
    def evidence(runs):
        ours = partial(by_seed, runs, method=arm)
        empty = by_seed(runs, "empty_fraction", method="roast_scaled").mean()
        difference = ours("test_acc") - ours("dense_acc")
        return [
            mean(difference, region=(-0.01, 0.01), label="accuracy less that of the dense net"),
            mean(ours("max_load"), region=(None, 1), label="largest load of a bucket"),
            exact(empty, region=(0.3, None), label="ROAST's empty buckets, mean over seeds"),
        ]

    return per_group(recovered["runs"], "task", evidence)


@study.claim(
    "Sharing estimates an inner product better than pruning where kurtosis exceeds 3",
    source="own derivation beside the paper's theory; the sign agrees for 90 % of zero-mean "
    "families with |K - 3| > 0.5, and sharing wins on over 70 % of raw digits",
    arm="digits",
    control="constant",
)
def kurtosis_decides(variances, *, arm):
    table = variances["variances"]
    gain = table["var_prune"] - table["var_rps"]
    family = table["source"].isin(FAMILIES) & ((table["kurtosis"] - 3).abs() > 0.5)
    agree = np.sign(gain[family]) == np.sign(table["kurtosis"][family] - 3)
    wins = gain[table["source"] == arm] > 0
    return [
        exact(agree.mean(), region=(0.9, None), label="families whose sign agrees"),
        exact(wins.mean(), region=(0.7, None), label=f"share of {arm} vectors won by sharing"),
    ]


@study.figure("Accuracy against compression", caption="Mean over seeds, 95 % intervals.")
def accuracy_curves(accuracies):
    return charts.band(
        accuracies["accuracies"], "compression", "test_acc", "method", panel="task", log_x=True,
        x_title="compression n / m", y_title="test accuracy",
    )  # fmt: skip


@study.figure(
    "Accuracy against memory, positions of sparse weights included",
    caption="Pruned nets also store which weights they kept: log2 of n choose k bits.",
)
def accuracy_per_bit(accuracies):
    runs = accuracies["accuracies"]
    return charts.band(
        runs.assign(bytes=runs["bits"] / 8), "bytes", "test_acc", "method", panel="task",
        log_x=True, x_title="memory of the weights in bytes", y_title="test accuracy",
    )  # fmt: skip


@study.figure("Accuracy against the scale of the start", caption="A diverged run counts as 0.")
def scale_curves(stability):
    return charts.band(
        stability["stability"], "init_scale", "test_acc", "method",
        log_x=True, x_title="half-width s of the shared numbers' start", y_title="test accuracy",
    )  # fmt: skip


@study.figure(
    "Who estimates an inner product better",
    caption="Above 1 sharing has the smaller variance; 3 is the Gaussian's kurtosis.",
)
def variance_ratios(variances):
    table = variances["variances"].query("source != 'constant' and var_prune > 0")
    table = table.assign(
        ratio=table["var_prune"] / table["var_rps"],
        what=np.where(table["source"] == "digits", "an image of a digit", "a synthetic family"),
    )
    points = charts.scatter(
        table, "kurtosis", "ratio", "what", log_x=True, log_y=True,
        x_title="kurtosis about zero", y_title="variance of pruning / variance of sharing",
    )  # fmt: skip
    gaussian = charts.reference_line(3, "Gaussian", axis="x")
    return points + gaussian + charts.reference_line(1)


@study.figure("Load of the buckets at c = 1", caption="All buckets of all seeds.")
def bucket_loads(recovered):
    loads = recovered["loads"].groupby(["method", "load"], as_index=False)["buckets"].sum()
    return charts.bars(loads, "load", "buckets", "method", title="buckets")
