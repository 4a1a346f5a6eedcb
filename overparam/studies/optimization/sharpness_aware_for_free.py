"""Study 04: does remembering past outputs flatten the minimum as SAM does, at the price of SGD?"""

from functools import partial
from itertools import product
from typing import Annotated, ClassVar, Self

import pandas as pd
import torch
from pydantic import model_validator

from overparam.datasets import DIGITS_FILE, member_samples, noisy_parts, parts_tables
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
    flatness_tables,
    matched_loss_report,
    recorded_training,
    run_correlations,
)
from overparam.models import named_network, seeded, stored_members
from overparam.reporting import charts
from overparam.store import Weights
from overparam.study import DataFile, Field, Paper, Study, StudyConfig, permuted
from overparam.training import SHARPNESS_METHOD, SharpnessMethod, cosine, state_bytes_after

Task = Annotated[str, Field(pattern=r"^(digits|mnist1d|own)/(mlp|conv)/[0-9.]+/[0-9.]+$")]
Method = Annotated[str, Field(pattern=SHARPNESS_METHOD)]
NETWORKS = {"mlp": "128x2", "conv": "conv"}
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
    digits_file: DataFile = Field(DIGITS_FILE, description="scikit-learn's digits")
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


def network(task, x, y):
    """The architecture of a task, for its inputs (S, N, ...) and classes."""
    return named_network(NETWORKS[settings(task)["model"]], x.shape[2:], int(y.max()) + 1)


@study.generate(each={"task": "tasks", "seed": "seeds"}, batch=16)
def splits(*, task, seeds, digits_file, own_file, train_size, validation_size):
    """Train, validation and test sets; wrong labels in training alone."""
    setting = settings(task)
    make = partial(
        noisy_parts,
        setting["dataset"],
        train_size=train_size,
        val_size=validation_size,
        noise=setting["noise"],
        file={"digits": digits_file, "own": own_file}.get(setting["dataset"]),
    )
    return parts_tables({seed: make(seed=seed) for seed in seeds})


@study.train(each={"task": "tasks", "method": "methods", "seed": "seeds"}, batch=16)
def descents(
    splits, *, task, method, seeds, tau, distance, start, beta, epochs, batch_size, learning_rate,
    path_every, progress,
):  # fmt: skip
    """One method; its path (loss, trajectory loss, sharpness), its outcome and its price."""
    train, val, test = (member_samples(splits, seeds, part) for part in ("train", "val", "test"))
    setting, recipe = settings(task), SharpnessMethod.parse(method)
    found = recorded_training(
        [seeded(partial(network, task, *train), seed) for seed in seeds],
        seeds,
        recipe.callback(tau=tau, distance=distance, start=start, beta=beta),
        train=train,
        val=val,
        test=test,
        epochs=recipe.epochs(epochs),
        batch_size=batch_size,
        optimizer=partial(torch.optim.SGD, lr=learning_rate, momentum=0.9, weight_decay=5e-4),
        schedule=cosine(),
        smoothing=setting["smoothing"],
        distance=distance,
        tau=tau,
        every=path_every,
        progress=progress,
    )
    runs = found.runs.assign(**setting, lam=recipe.lam, rho=recipe.rho, tau=tau, distance=distance)
    weights = Weights.by_seed(seeds, found.ensemble.states())
    return {"runs": runs, "path": found.path, "weights": weights}


@study.evaluate(each={"task": "tasks", "method": "methods", "seed": "seeds"}, batch=16)
def flatness(splits, descents, *, task, method, seeds, sharpness_rho, progress):
    """The Hessian's trace, SAM's sharpness and a slice of the loss at the final weights."""
    x, y = member_samples(splits, seeds, "train")
    nets = stored_members(partial(network, task, x, y), descents, "weights", seeds)
    loss = partial(torch.nn.functional.cross_entropy, label_smoothing=settings(task)["smoothing"])
    nets = progress(nets, description=f"flatness of {method}")
    return flatness_tables(nets, seeds, loss, x, y, rho=sharpness_rho, probes=15, points=21)


@study.evaluate
def runs(descents, flatness):
    """Every training in a row: accuracy, sharpness, passes."""
    return descents["runs"].merge(flatness["flatness"], on=["task", "method", "seed"])


@study.evaluate
def drops(descents):
    """Epochs from E on: trajectory loss and drop; rank correlations; sharpness at equal loss."""
    path = descents["path"]
    kept = path.dropna(subset=["traj_kl"], ignore_index=True)
    return {
        "drops": kept[[*RUN, "epoch", "traj_kl", "drop"]],
        "correlations": run_correlations(kept, RUN, "traj_kl", ["drop", "lambda_max"]),
        "matched": matched_loss_report(path, "sgd", within="task"),
    }


@study.evaluate
def memory(*, tau, distance, start, beta):
    """Bytes that SAF and MESA keep beside the network, for n and 2n samples."""
    rows = []
    for name, n in product(("saf_1", "mesa_1"), (64, 128)):
        method = SharpnessMethod.parse(name)
        own = method.callback(tau=tau, distance=distance, start=start, beta=beta)
        rows.append({"method": method.family, "samples": n, "bytes": state_bytes_after(own, n)})
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
    for method, promised in ((arm, (1, 1)), ("sam_0.1", (2, 2)), ("mesa_3", (2, 1))):
        for kind, times in zip(("forward", "backward"), promised, strict=True):
            counts = passes[kind].reindex(columns=[method, "sgd"])
            label = f"{kind} passes, {method} / sgd"
            parts.append(worst(counts[method] / counts["sgd"], region=(times, times), label=label))
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
    table, title = runs["runs"], "sample-passes"
    table = table.assign(passes=table["fwd_passes"] + 2 * table["bwd_passes"])
    return charts.points(table, "passes", "test_acc", "method", panel="task", x_title=title)


@study.figure("Accuracy against lambda", caption="Mean over seeds; lambda 0 is SGD.")
def accuracy_lambda(runs):
    families = runs["runs"]["method"].map(lambda name: SharpnessMethod.parse(name).family)
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
    table, title = drops["matched"], "lambda_max / SGD's"
    return charts.band(table, "loss_level", "ratio", "method", panel="task", y_title=title)


@study.figure(
    "What the trajectory loss goes with",
    caption="Rank correlation over epochs within each run, with the drop of the loss and with "
    "lambda_max (negative where the trajectory loss merely falls with the learning rate).",
)
def correlations(drops):
    kinds = ["with_drop", "with_lambda_max"]
    long = drops["correlations"].melt(RUN, kinds, "what", "rho")
    return charts.scatter(long, "rho", "method", "what", panel="task")
