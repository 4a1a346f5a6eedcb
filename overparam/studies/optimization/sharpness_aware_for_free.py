"""Study 04: does remembering past outputs flatten the minimum as SAM does, at the price of SGD?"""

import itertools
import re
import time
from functools import partial
from typing import Annotated, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from pydantic import model_validator

from overparam.datasets import (
    Split,
    Standardizer,
    digits,
    member_samples,
    mnist1d,
    read_labelled,
    split_tables,
    stratified_split,
    uniform_label_noise,
)
from overparam.evidence import (
    by_seed,
    exact,
    paired_difference,
    per_group,
    rank_correlation,
    ratio,
    where,
    worst,
)
from overparam.measure import (
    TrajectoryPath,
    hessian_top_eigenvalues,
    hessian_trace,
    loss_slice_1d,
    matched_loss_report,
    sam_sharpness,
)
from overparam.models import MLP, SmallConvNet, seeded, with_weights
from overparam.reporting import charts
from overparam.store import Weights
from overparam.study import DataFile, Field, PackageFile, Paper, Study, StudyConfig, permuted
from overparam.training import (
    MESA,
    SAF,
    SAM,
    Callback,
    Ensemble,
    RecomputedSAF,
    accuracy,
    batch_orders,
    cosine,
    cross_entropy,
    fit,
    state_bytes,
)

Task = Annotated[str, Field(pattern=r"^(digits|mnist1d|own)/(mlp|conv)/[0-9.]+/[0-9.]+$")]
Method = Annotated[
    str,
    Field(
        pattern=r"^(sgd(_[1-9]x)?|saf_E0|(sam|mesa|saf(_recomputed|_shuffled|_reversed)?)_[0-9.]+)$"
    ),
]
QUICK = ("sgd", "sam_0.1", "saf_3", "mesa_3", "saf_recomputed_3")
# An effect of exactly 0 (a control that changes nothing) is not "above 0".
STRICT = 1e-9
# The columns that tell runs apart.
RUN = ["task", "method", "seed"]


class Config(StudyConfig):
    tasks: tuple[Task, ...] = Field(
        ("digits/mlp/0.2/0.1",),
        description="DATASET/MODEL/NOISE/SMOOTHING: digits, mnist1d or own; mlp or conv; share of "
        "wrong training labels; label smoothing of the training loss",
    )
    digits_file: DataFile = Field(
        PackageFile("sklearn", "datasets/data/digits.csv.gz"), description="scikit-learn's digits"
    )
    own_file: DataFile | None = Field(
        None, description="your .npz with x (N, ...) float and y (N,) int, for own/MODEL/..."
    )
    train_size: int = Field(300, ge=10, description="training samples")
    validation_size: int = Field(200, ge=1, description="validation samples; the rest is test")
    methods: tuple[Method, ...] = Field(
        QUICK,
        description="sgd, sgd_2x (twice the epochs), sam_RHO, saf_LAMBDA, mesa_LAMBDA; controls "
        "saf_E0 (the present as past), saf_recomputed_LAMBDA; ablations saf_shuffled_LAMBDA, "
        "saf_reversed_LAMBDA",
    )
    tau: float = Field(5, gt=0, description="temperature")
    distance: int = Field(3, ge=1, description="E, epochs back")
    start: int = Field(5, ge=1, description="E_s: the trajectory loss counts from epoch E_s + 1 on")
    beta: float = Field(0.995, ge=0, lt=1, description="decay of MESA's average")
    epochs: int = Field(40, ge=8, description="epochs of every training but sgd_2x")
    batch_size: int = Field(32, ge=1, description="samples per step")
    learning_rate: float = Field(0.05, gt=0, description="of SGD with momentum .9, cosine")
    path_every: int = Field(10, ge=1, description="epochs between two lambda_max on the path")
    sharpness_rho: float = Field(0.05, gt=0, description="radius at which sharpness is measured")
    profiles: ClassVar = {
        "quick": {},
        "full": {
            "seeds": 6,
            "tasks": tuple(
                f"{data}/{model}/{noise}/{smoothing}"
                for data, smoothing in (("digits", 0.1), ("mnist1d", 0.1), ("digits", 0))
                for model in ("mlp", "conv")
                for noise in (0.2, 0)
            ),
            "methods": (
                "sgd", "sgd_2x", "sam_0.05", "sam_0.1", "sam_0.2", "saf_0.3", "saf_1", "saf_3",
                "mesa_0.8", "mesa_1", "mesa_3", "saf_E0", "saf_recomputed_3", "saf_shuffled_1",
                "saf_reversed_1",
            ),
        },
    }  # fmt: skip
    needs: ClassVar = {"own": ("own_file",)}

    @model_validator(mode="after")
    def _past_was_recorded(self) -> Self:
        if self.start < self.distance:
            raise ValueError(f"start={self.start} must be at least distance={self.distance}")
        return self


study = Study(
    "sharpness-aware-for-free",
    theme="optimization",
    config=Config,
    question="SAM finds flat minima at twice the gradients. Does a loss that slows down the change "
    "of each sample's output, read from a table (SAF) or an averaged net (MESA), do so for free?",
    paper=Paper(
        title="Sharpness-Aware Training for Free",
        authors="Jiawei Du, Daquan Zhou, Jiashi Feng, Vincent Y. F. Tan, Joey Tianyi Zhou",
        venue="NeurIPS",
        year=2022,
        arxiv="2205.14083",
        code="https://github.com/AngusDujw/SAF",
    ),
)


def settings(task):
    """The four parts of a task."""
    data, model, noise, smoothing = task.split("/")
    return {"dataset": data, "model": model, "noise": float(noise), "smoothing": float(smoothing)}


def parts_of(method):
    """FAMILY_VALUE: lambda of SAF and MESA, rho of SAM, a multiple of the epochs for SGD."""
    found = re.fullmatch(r"(.+)_([0-9.]+)x?", method)
    return (found[1], float(found[2])) if found else (method, 1.0)


def method_callback(method, *, tau, distance, start, beta):
    """What a method does during training, as a callback of ``fit``."""
    family, value = parts_of(method)
    saf = partial(SAF, lam=value, tau=tau, distance=distance, start=start)
    return {
        "sgd": Callback,
        "sam": partial(SAM, rho=value),
        "saf": saf,
        "mesa": partial(MESA, lam=value, tau=tau, beta=beta, warm_up=False, start=start),
        "saf_E0": partial(saf, reference="present"),
        "saf_shuffled": partial(saf, reference="another"),
        "saf_reversed": partial(saf, reverse=True),
        "saf_recomputed": partial(
            RecomputedSAF, lam=value, tau=tau, distance=distance, start=start
        ),
    }[family]()


def network(model, x, y):
    """The architecture of a task, for its inputs (S, N, ...) and classes."""
    shape, classes = tuple(x.shape[2:]), int(y.max()) + 1
    if model == "conv":
        image = (1, 8, 8) if shape == (64,) else shape if len(shape) > 1 else (1, *shape)
        return SmallConvNet(image, classes=classes)
    return MLP((int(np.prod(shape)), 128, 128, classes))


def samples(splits, seeds, part, name="samples"):
    """Inputs (S, N, ...) and labels (S, N) of a part, for S seeds."""
    x, y = member_samples(splits, seeds, part, name=name)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


class StepClock(Callback):
    """Seconds of every step, which epoch ends with their measurements do not blur."""

    def __init__(self):
        self.ticks = []

    def on_step(self, fit):
        self.ticks.append(time.perf_counter())


@study.generate(each={"task": "tasks", "seed": "seeds"}, batch=16)
def splits(*, task, seeds, digits_file, own_file, train_size, validation_size):
    """Train, validation and test sets; wrong labels in training alone."""
    dataset, noise = settings(task)["dataset"], settings(task)["noise"]
    found, held_out = {}, {}
    for seed in seeds:
        if dataset == "mnist1d":
            data = mnist1d(train_size + validation_size, 1000, seed=seed)
            x, y = np.concatenate([data.x_train, data.x_test]), np.r_[data.y_train, data.y_test]
            test = np.arange(len(data.y_train), len(y))
            train, validation = stratified_split(data.y_train, (train_size, -1), seed)
        else:
            data = digits(digits_file) if dataset == "digits" else read_labelled(own_file)
            sizes = (train_size, validation_size, -1)
            train, validation, test = stratified_split(data.y, sizes, seed)
            x = data.x / 16 if dataset == "digits" else Standardizer.fit(data.x[train])(data.x)
            y = data.y
        noisy, _ = uniform_label_noise(y[train], noise, int(y.max()) + 1, seed)
        found[seed] = Split(x[train], noisy, x[test], y[test], data.meta)
        held_out[seed] = Split(x[train[:0]], y[train[:0]], x[validation], y[validation])
    return {**split_tables(found), "validation": split_tables(held_out)["samples"]}


@study.train(each={"task": "tasks", "method": "methods", "seed": "seeds"}, batch=16)
def descents(
    splits, *, task, method, seeds, tau, distance, start, beta, epochs, batch_size, learning_rate,
    path_every, progress,
):  # fmt: skip
    """One method; its path (loss, trajectory loss, sharpness), its outcome and its price."""
    x, y = samples(splits, seeds, "train")
    setting = settings(task)
    family, value = parts_of(method)
    epochs *= int(value) if family == "sgd" else 1
    ensemble = Ensemble([seeded(partial(network, setting["model"], x, y), s) for s in seeds])
    own = method_callback(method, tau=tau, distance=distance, start=start, beta=beta)
    smooth = partial(torch.nn.functional.cross_entropy, label_smoothing=setting["smoothing"])
    path = TrajectoryPath(
        distance,
        tau,
        lambda model, x, y: float(hessian_top_eigenvalues(model, smooth, (x, y))[0]),
        path_every,
    )
    clock = StepClock()
    trace = fit(
        ensemble,
        x,
        y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.SGD, lr=learning_rate, momentum=0.9, weight_decay=5e-4),
        schedule=cosine(),
        loss=partial(cross_entropy, smoothing=setting["smoothing"]),
        orders=batch_orders(x.shape[1], epochs, seeds),
        callbacks=[own, clock, path],
        progress=progress,
    )
    x_test, y_test = samples(splits, seeds, "test")
    ema = own.averaged(ensemble) if family == "mesa" else None
    record = path.frame(seeds)
    last = record[record["epoch"] == epochs - 1].set_index("seed").loc[list(seeds)]
    runs = pd.DataFrame(
        {
            "seed": seeds,
            **setting,
            "lam": value if family.startswith(("saf", "mesa")) else np.nan,
            "rho": value if family == "sam" else np.nan,
            "tau": tau,
            "distance": distance,
            "test_acc": accuracy(ensemble, x_test, y_test).numpy(),
            "val_acc": accuracy(ensemble, *samples(splits, seeds, "test", "validation")).numpy(),
            "ema_acc": accuracy(ema, x_test, y_test).numpy() if ema else np.nan,
            "train_loss": last["train_loss"].to_numpy(),
            "lambda_max": last["lambda_max"].to_numpy(),
            "diverged": trace.diverged.numpy(),
            "fwd_passes": trace.cost.forward,
            "bwd_passes": trace.cost.backward,
            "seconds": float(np.median(np.diff(clock.ticks))),
        }
    )
    weights = Weights.stack([({"seed": s}, ensemble.state(i)) for i, s in enumerate(seeds)])
    return {"runs": runs, "path": record, "weights": weights}


@study.evaluate(each={"task": "tasks", "method": "methods", "seed": "seeds"}, batch=16)
def flatness(splits, descents, *, task, method, seeds, sharpness_rho, progress):
    """The Hessian's trace, SAM's sharpness and a slice of the loss at the final weights."""
    smoothing = settings(task)["smoothing"]
    loss = partial(torch.nn.functional.cross_entropy, label_smoothing=smoothing)
    x, y = samples(splits, seeds, "train")
    rows, slices = [], []
    for i, seed in enumerate(progress(seeds, description=f"flatness of {method}")):
        empty = network(settings(task)["model"], x, y)
        model = with_weights(empty, descents.weights("weights", seed=seed))
        data = (x[i], y[i])
        finite = all(bool(p.isfinite().all()) for p in model.parameters())
        row = {"seed": seed, "trace": np.nan, "sam_sharpness": np.nan}
        cut = pd.DataFrame({"seed": seed, "step": [np.nan], "loss": [np.nan]})
        if finite:  # (a training that diverged has no Hessian)
            row["trace"] = hessian_trace(model, loss, data, probes=15).trace
            row["sam_sharpness"] = sam_sharpness(model, loss, data, sharpness_rho)
            line = loss_slice_1d(model, loss, data, points=21)
            cut = pd.DataFrame({"seed": seed, "step": line.steps, "loss": line.losses})
        rows.append(row)
        slices.append(cut)
    return {"flatness": pd.DataFrame(rows), "slices": pd.concat(slices, ignore_index=True)}


@study.evaluate
def runs(descents, flatness):
    """Every training in a row: accuracy, sharpness, passes."""
    return descents["runs"].merge(flatness["flatness"], on=["task", "method", "seed"])


@study.evaluate
def drops(descents):
    """Epochs from E on: trajectory loss and drop; rank correlations; sharpness at equal loss."""
    path = descents["path"]
    kept = path.dropna(subset=["traj_kl"], ignore_index=True)
    beside = {"drop": "with_drop", "lambda_max": "with_lambda_max"}
    rho = kept.groupby(RUN)[["traj_kl", *beside]].corr("spearman", min_periods=3)
    rho = rho.xs("traj_kl", level=-1)[list(beside)].rename(columns=beside)
    matched = [
        matched_loss_report(part, "sgd").assign(task=task)
        for task, part in path.groupby("task")
        if "sgd" in set(part["method"])
    ]
    return {
        "drops": kept[[*RUN, "epoch", "traj_kl", "drop"]],
        "correlations": rho.reset_index(),
        "matched": pd.concat(matched, ignore_index=True) if matched else pd.DataFrame({"task": []}),
    }


@study.evaluate
def memory(*, tau, distance, start, beta):
    """Bytes that SAF and MESA keep beside the network, for n and 2n samples."""
    rows = []
    for method, n in itertools.product(("saf_1", "mesa_1"), (64, 128)):
        own = method_callback(method, tau=tau, distance=distance, start=start, beta=beta)
        fit(
            Ensemble([seeded(lambda: MLP((64, 16, 10)), 0)]),
            torch.zeros(1, n, 64),
            torch.zeros(1, n, dtype=torch.long),
            epochs=1,
            batch_size=32,
            optimizer=partial(torch.optim.SGD, lr=0.1),
            orders=batch_orders(n, 1, (0,)),
            callbacks=[own],
        )
        rows.append({"method": parts_of(method)[0], "samples": n, "bytes": state_bytes(own)})
    return pd.DataFrame(rows)


def beside(runs, column, compare, methods, *, region, noisy):
    """Two methods compared seed by seed, for lambda 1 and 3 and each task with label smoothing (an
    over-fitted net without it looks flat), with wrong labels if ``noisy``."""

    def evidence(part):
        for lam in (1, 3):
            # (With the present as past the loss is zero, whatever lambda.)
            names = (m if m in ("sgd", "saf_E0") else f"{m}_{lam}" for m in methods)
            pair = (by_seed(part, column, method=name) for name in names)
            yield compare(*pair, region=region, label=f"lambda = {lam}")

    chosen = runs[(runs["smoothing"] > 0) & ((runs["noise"] > 0) | (not noisy))]
    return per_group(chosen, "task", evidence)


@study.claim(
    "Almost no additional cost",
    source="abstract and Table 1; passes per epoch beside SGD: SAF 1 forward and 1 backward, SAM 2 "
    "and 2, MESA 2 and 1",
    arm="saf_3",
    control="saf_recomputed_3",
)
def costs_nothing(descents, *, arm):
    path = descents["path"]
    last = path[path["epoch"] == path.groupby(["task", "method"])["epoch"].transform("max")]
    passes = last.pivot_table(index="task", columns="method", values=["forward", "backward"])
    parts = []
    for method, forward, backward in ((arm, 1, 1), ("sam_0.1", 2, 2), ("mesa_3", 2, 1)):
        for kind, times in (("forward", forward), ("backward", backward)):
            counts = passes[kind].reindex(columns=[method, "sgd"])
            times_sgd = counts[method] / counts["sgd"]
            label = f"{kind} passes, {method} / sgd"
            parts.append(worst(times_sgd, region=(times, times), label=label))
    return parts


@study.claim(
    "SAF finds flatter minima than SGD, as SAM does",
    source="Figure 2 and Section 4; lambda_max(SAF) / lambda_max(SGD) by seed, upper end below 1, "
    "for lambda 1 and 3",
    arm="saf",
    control="saf_E0",
    decided_at="full",
)
def flatter(runs, *, arm):
    region = (None, 1 - STRICT)
    return beside(runs["runs"], "lambda_max", ratio, (arm, "sgd"), region=region, noisy=False)


@study.claim(
    "SAF generalises better than SGD under label noise",
    source="Tables 1 to 3; test accuracy less SGD's by seed, lower end above 0, for lambda 1 and 3",
    arm="saf",
    control="saf_E0",
    decided_at="full",
)
def generalises(runs, *, arm):
    return beside(
        runs["runs"], "test_acc", paired_difference, (arm, "sgd"), region=(STRICT, None), noisy=True
    )


@study.claim(
    "The trajectory loss follows the drop of the loss",
    source="Section 3.1 and 3.2; rank correlation over epochs > E of the trajectory loss and "
    "|L(t-E) - L(t)| within each run, above 0",
    arm="saf_3",
    control=permuted("traj_kl"),
)
def bounds_the_drop(drops, *, arm):
    def evidence(part):
        curves = (part.pivot(index="seed", columns="epoch", values=v) for v in ("traj_kl", "drop"))
        return rank_correlation(*curves, region=(0, None))

    table = drops["drops"]
    return [
        part
        for method in (arm, "sgd")
        for part in per_group(where(table, method=method), ["method", "task"], evidence)
    ]


@study.claim(
    "MESA comes close to SAF with memory that does not grow with the data",
    source="Section 3.3 and Table 1; |accuracy(MESA) - accuracy(SAF)| below 0.02 at equal lambda "
    "under label noise; bytes for 2n samples / bytes for n: 1",
    arm="mesa",
    control="saf",
    decided_at="full",
)
def mesa_close(runs, memory, *, arm):
    few, many = where(memory["memory"], method=arm).sort_values("samples")["bytes"]
    growth = exact(many / few, region=(1, 1), label="bytes for 2n samples / for n")
    close = beside(
        runs["runs"], "test_acc", paired_difference, (arm, "saf"), region=(-0.02, 0.02), noisy=True
    )
    return [*close, growth]


@study.figure(
    "Largest Hessian eigenvalue along the training", caption="Mean over seeds, training loss."
)
def sharpness_path(descents):
    path = descents["path"].dropna(subset=["lambda_max"])
    return charts.band(path, "epoch", "lambda_max", "method", panel="task")


@study.figure(
    "Accuracy against cost",
    caption="Forward plus twice the backward sample-passes of the whole training; bars are 95 % "
    "intervals over seeds. saf_shuffled pulls towards the past outputs of another sample, a mere "
    "confidence penalty: where it does as well, the sample's own past is not what helps.",
)
def accuracy_cost(runs):
    table = runs["runs"].assign(passes=lambda t: t["fwd_passes"] + 2 * t["bwd_passes"])
    return charts.points(
        table, "passes", "test_acc", "method", panel="task", x_title="sample-passes"
    )


@study.figure("Accuracy against lambda", caption="Mean over seeds; lambda 0 is SGD.")
def accuracy_lambda(runs):
    families = runs["runs"]["method"].str.rpartition("_")[0]
    table = runs["runs"].assign(family=families)
    curves = where(table, family=["saf", "mesa", "saf_shuffled"])
    sgd = where(table, method="sgd").assign(lam=0.0)
    both = pd.concat([curves, *(sgd.assign(family=f) for f in curves["family"].unique())])
    return charts.band(both, "lam", "test_acc", "family", panel="task", x_title="lambda")


@study.figure(
    "Slices of the training loss",
    caption="Along a filter-normalised random direction, less the loss at the minimum; mean.",
)
def slices(flatness):
    table = flatness["slices"].dropna()
    lowest = table.groupby(RUN)["loss"].transform("min")
    table = table.assign(rise=table["loss"] - lowest)
    return charts.band(table, "step", "rise", "method", panel="task", y_title="rise of the loss")


@study.figure(
    "Sharpness at equal training loss, beside SGD",
    caption="lambda_max over that of SGD of the same seed where both trainings first reach a loss.",
)
def matched_sharpness(drops):
    return charts.band(
        drops["matched"],
        "loss_level",
        "ratio",
        "method",
        panel="task",
        y_title="lambda_max / SGD's",
    )


@study.figure(
    "What the trajectory loss goes with",
    caption="Rank correlation over epochs within each run, with the drop of the loss and with "
    "lambda_max (negative where the trajectory loss merely falls with the learning rate).",
)
def correlations(drops):
    kinds = ["with_drop", "with_lambda_max"]
    long = drops["correlations"].melt(RUN, kinds, "what", "rho")
    return charts.scatter(long, "rho", "method", "what", panel="task")
