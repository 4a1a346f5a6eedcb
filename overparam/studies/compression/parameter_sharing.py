"""Study 52: under a fixed memory, share weights at random, prune, or take a smaller net?"""

from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import torch

from overparam.compress import (
    PRUNING,
    SHARING,
    at_equal_memory,
    compressible_weights,
    dead_layers,
    lottery_rewind,
    masks_of,
    materialise,
    memory_size,
    method_callbacks,
    share_parameters,
    sharing_report,
    sparse_bits,
    weight_count,
)
from overparam.datasets import (
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
from overparam.models import MLP, VGGSmall, seeded, with_weights
from overparam.reporting import charts
from overparam.store import Weights
from overparam.study import DataFile, Field, OneOf, PackageFile, Paper, Study, StudyConfig
from overparam.theory import FAMILIES, family_draws, prune_variance, raw_kurtosis, rps_variance
from overparam.training import Ensemble, accuracy, batch_orders, fit, multistep

METHODS = (
    *("rps_stable", "roast", "hashed", "mag", "snip", "grasp", "synflow", "random", "small"),
    "rps_frozen",
)
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
    digits_file: DataFile = Field(
        PackageFile("sklearn", "datasets/data/digits.csv.gz"), description="scikit-learn's digits"
    )
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
        image = (1, 8, 8) if shape == (64,) else shape if len(shape) > 1 else (1, *shape)
        return VGGSmall(image, width=width or 16, classes=classes)
    hidden = width or hidden
    return MLP((int(np.prod(shape)), hidden, hidden, classes))


def samples(splits, seeds, part):
    """Inputs (S, N, ...) and labels (S, N) of a part, for S seeds."""
    x, y = member_samples(splits, seeds, part)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


def trained(models, splits, seeds, *, epochs, batch_size, learning_rate, progress=None):
    """Train members by the paper's recipe; a seed's data order is the same for all methods.

    Returns the ensemble, and a row per member: test accuracy, last training loss, divergence.
    """
    x, y = samples(splits, seeds, "train")
    ensemble = Ensemble(models)
    trace = fit(
        ensemble,
        x,
        y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.SGD, lr=learning_rate, momentum=0.9, weight_decay=1e-4),
        schedule=multistep((0.6, 0.85)),
        orders=batch_orders(x.shape[1], epochs, seeds),
        callbacks=method_callbacks(models),
        progress=progress,
    )
    rows = {
        "seed": seeds,
        "test_acc": accuracy(ensemble, *samples(splits, seeds, "test")).numpy(),
        "train_loss": trace.train_loss[:, -1].double().numpy(),
        "diverged": trace.diverged.numpy(),
    }
    return ensemble, pd.DataFrame(rows)


@study.generate(each={"task": "tasks", "seed": "seeds"}, batch=16)
def splits(*, task, seeds, digits_file, own_file, train_size):
    """Train and test sets, standardised by the training set; MNIST-1D comes split."""
    found = {}
    for seed in seeds:
        if task.startswith("mnist1d/"):
            found[seed] = mnist1d(seed=seed)
            continue
        data = digits(digits_file) if task.startswith("digits/") else read_labelled(own_file)
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
    make = partial(network, task, hidden, *samples(splits, seeds, "train"))
    start = [seeded(make, seed) for seed in seeds]
    early, _ = trained(start, splits, seeds, epochs=rewind_epochs, **recipe)
    _, runs = trained(start, splits, seeds, epochs=epochs, progress=progress, **recipe)
    return {
        "runs": runs,
        "start": Weights.stack(
            [({"seed": s}, m.state_dict()) for s, m in zip(seeds, start, strict=True)]
        ),
        "early": Weights.stack([({"seed": s}, early.state(i)) for i, s in enumerate(seeds)]),
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
    x, y = samples(splits, seeds, "train")
    make = partial(network, task, hidden, x, y)
    table = "early" if method == "ltr" else "start"
    start = [with_weights(make(), dense.weights(table, seed=seed)) for seed in seeds]
    n = sum(slot.size for slot in compressible_weights(start[0]))
    memory = memory_size(n, compression)
    if memory == n and method not in SHARING:  # nothing is cut: this is the dense net
        runs = dense["runs"].drop(columns=["task"])
        return runs.assign(weights=n, memory=n, epochs=epochs, dead_layers=0)
    if method == "small" and weight_count(make, 1) > memory:  # not even one channel wide
        absent = {"test_acc": np.nan, "train_loss": np.nan, "diverged": False}
        runs = pd.DataFrame({"seed": seeds, **absent})
        return runs.assign(weights=n, memory=memory, epochs=epochs, dead_layers=0)
    if method == "ltr":
        outcomes = []

        def retrain(nets, _round):
            outcomes.append(trained(nets, splits, seeds, **recipe))
            return outcomes[-1][0].members()

        tickets = lottery_rewind(start, retrain, count=memory, rounds=ltr_rounds)
        models, runs = [ticket.ticket for ticket in tickets], outcomes[-1][1]
    else:
        batch = {"x": x[:, :batch_size], "y": y[:, :batch_size], "seeds": seeds}
        models = at_equal_memory(method, start, compression, **batch, narrower=make)
        _, runs = trained(models, splits, seeds, progress=progress, **recipe)
    pruned = method in (*PRUNING, "ltr")
    dead = [int(dead_layers(masks_of(model)).sum()) if pruned else 0 for model in models]
    return runs.assign(weights=n, memory=memory, epochs=epochs, dead_layers=dead)


@study.compress(
    each={"task": "reference_tasks", "method": "stability_methods", "seed": "seeds"}, batch=16
)
def stability(
    splits, dense, *, task, method, seeds, hidden, stability_compression, init_scales, epochs,
    batch_size, learning_rate, progress,
):  # fmt: skip
    """One sharing method from every half-width s of the shared numbers' start."""
    recipe = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    make = partial(network, task, hidden, *samples(splits, seeds, "train"))
    start = [with_weights(make(), dense.weights("start", seed=seed)) for seed in seeds]
    runs = []
    for scale in progress(init_scales, description="init scales"):
        models = [
            share_parameters(
                net, stability_compression, seed=s, init_scale=scale, **SHARING[method]
            )
            for net, s in zip(start, seeds, strict=True)
        ]
        runs.append(trained(models, splits, seeds, **recipe)[1].assign(init_scale=scale))
    return pd.concat(runs, ignore_index=True)


@study.compress(
    each={"task": "reference_tasks", "method": "recovery_methods", "seed": "seeds"}, batch=16
)
def recovered(
    splits, dense, *, task, method, seeds, hidden, epochs, batch_size, learning_rate, progress
):
    """Sharing at c = 1, beside a dense net that starts from the shared net's own weights."""
    recipe = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    make = partial(network, task, hidden, *samples(splits, seeds, "train"))
    start = [with_weights(make(), dense.weights("start", seed=seed)) for seed in seeds]
    shared = [
        share_parameters(n, 1, seed=s, **SHARING[method]) for n, s in zip(start, seeds, strict=True)
    ]
    plain = [materialise(model) for model in shared]
    loads = [sharing_report(model).loads.numpy() for model in shared]
    _, runs = trained(shared, splits, seeds, progress=progress, **recipe)
    _, dense_runs = trained(plain, splits, seeds, **recipe)
    histogram = pd.concat(
        [
            pd.Series(load).value_counts().rename_axis("load").reset_index(name="buckets")
            .assign(seed=seed)
            for load, seed in zip(loads, seeds, strict=True)
        ],
        ignore_index=True,
    )  # fmt: skip
    return {
        "runs": runs.assign(
            dense_acc=dense_runs["test_acc"],
            max_load=[int(load.max()) for load in loads],
            empty_fraction=[float((load == 0).mean()) for load in loads],
        ),
        "loads": histogram,
    }


@study.evaluate
def accuracies(dense, compressed):
    """Every run with its memory in bits: sparse nets store positions, shared ones none."""
    runs = compressed["compressed"].drop(columns="seconds", errors="ignore")
    sparse = runs["method"].isin([*PRUNING, "ltr"])
    bits = [
        sparse_bits(n, k) if positions else 32.0 * k
        for n, k, positions in zip(runs["weights"], runs["memory"], sparse, strict=True)
    ]
    full = dense["runs"][["task", "seed", "test_acc"]].rename(columns={"test_acc": "dense_acc"})
    return runs.assign(bits=bits).merge(full, on=["task", "seed"])


@study.evaluate
def variances(*, memory, digits_file, seed):
    """Variance of an inner product from m numbers: keep m coordinates, or share m buckets."""
    rows = []
    for family, (kurtosis, _) in FAMILIES.items():
        x = family_draws(family, draws=200, n=16 * memory, seed=seed)
        means = prune_variance(x, x, memory).mean(), rps_variance(x, x, memory).mean()
        rows.append((family, kurtosis, *means))
    images = digits(digits_file).x.astype(float)
    for name, x in {"digits": images, "constant": np.ones((2, images.shape[1]))}.items():
        m = x.shape[1] // 8
        each = raw_kurtosis(x), prune_variance(x, x, m), rps_variance(x, x, m)
        rows += [(name, *values) for values in zip(*each, strict=True)]
    return pd.DataFrame(rows, columns=["source", "kurtosis", "var_prune", "var_rps"])


@study.claim(
    "Sharing matches or beats pruning and smaller nets, most clearly at high compression",
    source="abstract; at c = 500 the lower end of the paired difference to the best rival is above "
    "0, at c <= 50 above -0.02",
    arm="rps_stable",
    control="random",
)
def beats_pruning(accuracies, *, arm):
    def evidence(runs):
        c = runs["compression"].iloc[0]
        rivals = {method: by_seed(runs, "test_acc", method=method) for method in RIVALS}
        best = pd.DataFrame(rivals).mean().fillna(0).idxmax()
        difference = by_seed(runs, "test_acc", method=arm) - rivals[best]
        return mean(difference, region=(0 if c == 500 else -0.02, None), label=f"less {best}")

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


def counting_divergence(runs):
    """A run that diverged has accuracy 0."""
    return runs.assign(test_acc=runs["test_acc"].where(~runs["diverged"], 0.0))


@study.claim(
    "ROAST is unstable in the scale of its start, STABLE-RPS is not",
    source="Section on stability; share of starts s that diverge or end 0.05 below the method's "
    "best: 0 for STABLE-RPS, at least half for ROAST; its accuracies spread less than 0.01",
    arm="rps_stable",
    control="rps_unscaled",
)
def stable_in_scale(stability, *, arm):
    runs = counting_divergence(stability["stability"])
    table = runs.pivot_table(index=["method", "seed"], columns="init_scale", values="test_acc")
    failed = table.lt(table.max(axis=1) - 0.05, axis=0).mean(axis=1)
    spread = table.max(axis=1) - table.min(axis=1)
    found = pd.DataFrame({"failed": failed, "spread": spread}).reset_index()
    roast = by_seed(found, "failed", method="roast")
    return [
        mean(by_seed(found, "failed", method=arm), region=(None, 0), label="starts that fail"),
        mean(by_seed(found, "spread", method=arm), region=(None, 0.01), label="spread of accuracy"),
        mean(roast, region=(0.5, None), label="share of starts where ROAST fails"),
    ]


@study.claim(
    "STABLE-RPS recovers the dense net at 1x, ROAST does not",
    source="Section on Pareto-continuity; accuracies at c = 1 within 0.01 of a dense net from the "
    "same weights, every bucket used once; ROAST leaves over 30 % of its buckets empty",
    arm="rps_stable",
    control="roast_scaled",
)
def recovers_dense(recovered, *, arm):
    ours = partial(by_seed, recovered["runs"], method=arm)
    empty = by_seed(recovered["runs"], "empty_fraction", method="roast_scaled").mean()
    difference = ours("test_acc") - ours("dense_acc")
    return [
        mean(difference, region=(-0.01, 0.01), label="accuracy less that of the dense net"),
        mean(ours("max_load"), region=(None, 1), label="largest load of a bucket"),
        exact(empty, region=(0.3, None), label="ROAST's empty buckets, mean over seeds"),
    ]


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
        counting_divergence(stability["stability"]), "init_scale", "test_acc", "method",
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
