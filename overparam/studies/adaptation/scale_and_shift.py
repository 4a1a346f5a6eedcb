"""Study 58: is one scale and shift per channel enough to adapt a frozen network?"""

import copy
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from overparam.adapt import pairs, replace_head
from overparam.adapt.merge_parity import merge_parity
from overparam.adapt.methods import METHODS, apply_method, matched_size, tuning_report
from overparam.datasets import (
    CORRUPTIONS,
    TARGETS,
    corrupt,
    digit_target,
    member_samples,
    own_target,
    signal_target,
)
from overparam.evidence import mean, per_group, where, worst
from overparam.models import with_weights
from overparam.reporting import charts
from overparam.store import Weights, tensor_column
from overparam.studies.bases.digit_nets import IMAGE, Family, network, pretrained
from overparam.study import DataFile, Field, Paper, Study, StudyConfig
from overparam.training import Ensemble, accuracy, batch_orders, cosine, fit
from overparam.training.member_rates import MemberRates

Task = Literal[
    "inverted", "row-gain", "column-permutation", "checkerboard", "blurred-noise", "parity",
    "mnist1d", "own",
]  # fmt: skip
Method = Literal[
    "full", "linear", "bitfit", "norm", "adapter", "lora", "vpt-shallow", "vpt-deep",
    "ssf", "ssf-scale", "ssf-shift", "ssf-final",
]  # fmt: skip
SUITE = (*TARGETS, "mnist1d")
# Of as many trained parameters as SSF, at least.
RIVALS = ("adapter", "vpt-deep")
# Of the histograms of what was learned.
BINS = {"scale": np.linspace(0, 2, 41), "shift": np.linspace(-1, 1, 41)}
# The columns that tell targets apart.
AXIS = ["seed", "family", "task", "n_train"]


class Config(StudyConfig):
    families: tuple[Family, ...] = Field(
        ("mlp", "convnext", "vit"), description="pretrained networks"
    )
    tasks: tuple[Task, ...] = Field(SUITE, description="targets to adapt to")  # type: ignore[arg-type]
    train_sizes: tuple[int, ...] = Field((60, 200), description="training examples of a target")
    costly_tasks: tuple[Task, ...] | None = Field(
        None, description="targets of convnext and vit, which take 4 and 10 times the MLP's time"
    )
    costly_sizes: tuple[int, ...] | None = Field(
        None, description="training examples of convnext and vit"
    )
    methods: tuple[Method, ...] = Field(METHODS, description="ways to adapt")  # type: ignore[arg-type]
    own_file: DataFile | None = Field(
        None, description="your .npz with x (N, 1, 8, 8) floating and y (N,) integer, for own"
    )
    own_val: int = Field(200, ge=1, description="validation images of own_file; the rest tests")
    steps: int = Field(200, ge=1, description="training steps")
    batch_size: int = Field(32, ge=1, description="images per step")
    full_rates: tuple[float, ...] = Field(
        (3e-4, 1e-3, 3e-3), description="learning rates of full tuning; the middle one is default"
    )
    tuning_rates: tuple[float, ...] = Field(
        (3e-3, 1e-2, 3e-2), description="learning rates of all other methods"
    )
    weight_decay: float = Field(5e-5, ge=0, description="of AdamW; biases and pairs are spared")
    shallow_prompts: int = Field(8, ge=1, description="prompts of vpt-shallow")
    profiles: ClassVar = {
        "quick": {
            "families": ("mlp",),
            "tasks": ("inverted", "checkerboard"),
            "train_sizes": (200,),
            "methods": ("full", "linear", "ssf", "ssf-final"),
            "steps": 120,
            "seeds": 1,
        },
        "full": {"costly_tasks": ("inverted", "checkerboard"), "costly_sizes": (60,)},
    }
    needs: ClassVar = {"own": ("own_file",)}


study = Study(
    "scale-and-shift",
    theme="adaptation",
    config=Config,
    question="Frozen but for one scale and one shift per channel, folded away afterwards: does a "
    "network adapt as well as when all of it is fine-tuned?",
    paper=Paper(
        title="Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning",
        authors="Dongze Lian, Daquan Zhou, Jiashi Feng, Xinchao Wang",
        venue="NeurIPS",
        year=2022,
        arxiv="2210.08823",
        code="https://github.com/dongzelian/SSF",
    ),
)


def targets(config):
    """Family, target and size of the training set."""
    return [
        {"family": family, "task": task, "n_train": n}
        for family in config.families
        for task in (config.tasks if family == "mlp" else config.costly_tasks or config.tasks)
        for n in (
            config.train_sizes if family == "mlp" else config.costly_sizes or config.train_sizes
        )
    ]


def runs(config):
    """All methods on all targets; prompts need the tokens of a transformer."""
    return [
        {**target, "method": method}
        for target in targets(config)
        for method in config.methods
        if target["family"] == "vit" or not method.startswith("vpt")
    ]


def merges(config):
    """The runs whose pairs are folded away."""
    return [run for run in runs(config) if run["method"] == "ssf"]


def samples(data, seeds, part):
    """Images (S, N, 1, 8, 8) and labels (S, N) of a part, for S seeds."""
    return tuple(map(torch.from_numpy, member_samples(data, seeds, part, name="data")))


def new_heads(base, data, family, seeds):
    """The pretrained network of each seed, with a fresh head for the target."""
    classes = int(data.array("data", "y").max()) + 1
    nets = (with_weights(network(family), base.weights("weights", seed=s)) for s in seeds)
    return [replace_head(net.eval(), classes, seed=s) for net, s in zip(nets, seeds, strict=True)]


def prepared(nets, method, seeds, shallow_prompts):
    """The networks ready for a method; rivals train at least as many parameters as SSF."""
    budget = tuning_report(apply_method(copy.deepcopy(nets[0]), "ssf")).tuned
    size = shallow_prompts
    if method != "vpt-shallow":
        size = matched_size(nets[0], method, budget)
    return [
        apply_method(copy.deepcopy(net), method, size=size, seed=s)
        for net, s in zip(nets, seeds, strict=True)
    ]


def adapted(nets, tuned, method, seeds, shallow_prompts):
    """The networks as the step ``tuned`` left them: frozen weights, and what it stored."""
    models = prepared(nets, method, seeds, shallow_prompts)
    for model, seed in zip(models, seeds, strict=True):
        trained = tuned.weights("trained", method=method, seed=seed)
        model.load_state_dict(model.state_dict() | trained)
    return [model.eval() for model in models]


def spared_adamw(parameters, lr, weight_decay):
    """AdamW that decays matrices alone, as the authors' code does."""
    # Stacked over members, a vector has two axes.
    groups = [
        {"params": [p for p in parameters if p.ndim > 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)


@study.generate(each={"task": "tasks", "n_train": "train_sizes", "seed": "seeds"}, batch=16)
def data(*, task, n_train, seeds, own_file, own_val):
    """Training, validation and test images of a target."""
    tables = []
    for seed in seeds:
        if task == "own":
            found = own_target(own_file, n_train=n_train, n_val=own_val, seed=seed)
            if found.train.x.shape[1:] != IMAGE:
                shape = found.train.x.shape[1:]
                raise ValueError(f"{own_file}: images are {shape}; the base takes {IMAGE}")
        elif task == "mnist1d":
            found = signal_target(n_train=n_train, seed=seed)
        else:
            found = digit_target(task, n_train=n_train, seed=seed)
        for part in ("train", "val", "test"):
            x, y = getattr(found, part).x, getattr(found, part).y
            columns = {"seed": pa.array(np.full(len(y), seed)), "part": pa.repeat(part, len(y))}
            tables.append(pa.table({**columns, "x": tensor_column(x), "y": pa.array(y)}))
    return pa.concat_tables(tables)


@study.train(each=runs, reads={"base": pretrained})
def tuned(
    base, data, *, family, task, n_train, method, seeds, steps, batch_size, full_rates,
    tuning_rates, weight_decay, shallow_prompts, progress,
):  # fmt: skip
    """One method at several learning rates, all seeds and rates as one ensemble.

    ``runs`` has a row per seed and rate, ``chosen`` where validation was best (ties: the smaller
    rate); ``trained`` holds what the chosen runs trained.
    """
    rates = sorted(full_rates if method == "full" else tuning_rates)
    models = prepared(new_heads(base, data, family, seeds), method, seeds, shallow_prompts)
    members = [(i, rate) for i in range(len(seeds)) for rate in rates]
    own = torch.tensor([i for i, _ in members])
    nets = Ensemble([models[i] for i, _ in members])
    x, y = samples(data, seeds, "train")
    epochs = max(1, round(steps / -(-n_train // batch_size)))
    per_member = MemberRates([rate for _, rate in members])
    trace = fit(
        nets,
        x[own],
        y[own],
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(spared_adamw, lr=per_member.peak, weight_decay=weight_decay),
        schedule=cosine(warmup=epochs // 10),
        orders=batch_orders(n_train, epochs, seeds)[own],
        callbacks=[per_member],
        progress=progress,
    )
    scores = {}
    for part in ("val", "test"):
        x, y = samples(data, seeds, part)
        scores[f"{part}_acc"] = accuracy(nets, x[own], y[own]).numpy()
    report = tuning_report(models[0])
    frame = pd.DataFrame(
        {
            "seed": [seeds[i] for i, _ in members],
            "lr": per_member.rates,
            **scores,
            "n_params": report.tuned,
            "head_params": report.head,
            "backbone_params": report.backbone,
            "train_loss": trace.train_loss[:, -1].numpy(),
            "diverged": trace.diverged.numpy(),
        }
    )
    best = frame.groupby("seed", sort=False)["val_acc"].idxmax().tolist()
    names = {name for name, p in models[0].named_parameters() if p.requires_grad}
    states = [{n: t for n, t in nets.state(row).items() if n in names} for row in best]
    return {
        "runs": frame.assign(chosen=frame.index.isin(best)),
        "trained": Weights.stack([({"seed": s}, t) for s, t in zip(seeds, states, strict=True)]),
    }


@study.compress(
    each=merges,
    reads={"base": pretrained},
    volatile=("seconds", "ms_before", "ms_after", "latency_ratio"),
)
def merged(base, data, tuned, *, family, task, n_train, method, seeds, shallow_prompts):
    """Fold the pairs away; ``merge`` compares with the base, ``factors`` counts their values."""
    bases = new_heads(base, data, family, seeds)
    models = adapted(bases, tuned, method, seeds, shallow_prompts)
    rows, factors = [], []
    for seed, plain, model, x in zip(
        seeds, bases, models, samples(data, seeds, "test")[0], strict=True
    ):
        rows.append(merge_parity(plain, model, x).assign(seed=seed))
        for kind, edges in BINS.items():
            values = torch.cat([getattr(p, kind).detach() for p in pairs(model).values()])
            counts = np.histogram(values.clamp(edges[0], edges[-1]), edges)[0]
            factors.append(
                pd.DataFrame({"seed": seed, "kind": kind, "bin": edges[:-1], "count": counts})
            )
    return {
        "merge": pd.concat(rows, ignore_index=True),
        "factors": pd.concat(factors, ignore_index=True),
    }


@study.evaluate
def results(tuned):
    """The chosen run of each seed; ``full-default`` is full tuning at its middle rate."""
    table = tuned["runs"]
    full = table[table["method"] == "full"]
    rates = sorted(full["lr"].unique())
    default = full[full["lr"] == rates[len(rates) // 2]].assign(method="full-default")
    return pd.concat([table[table["chosen"]], default], ignore_index=True).drop(columns="chosen")


@study.evaluate(each=targets, reads={"base": pretrained})
def robustness(base, data, tuned, *, family, task, n_train, seeds, shallow_prompts):
    """Accuracy of the chosen runs on corrupted test images."""
    bases = new_heads(base, data, family, seeds)
    x, y = samples(data, seeds, "test")
    harder = {
        (kind, level): torch.from_numpy(
            np.stack(
                [corrupt(a.numpy(), kind, level, seed=s) for a, s in zip(x, seeds, strict=True)]
            )
        )
        for kind in CORRUPTIONS
        for level in (1, 2, 3)
    }
    rows = []
    for method in tuned["runs"]["method"].unique():
        nets = Ensemble(adapted(bases, tuned, method, seeds, shallow_prompts))
        for (kind, level), images in harder.items():
            row = {"method": method, "corruption": kind, "level": level, "seed": seeds}
            rows.append(pd.DataFrame({**row, "test_acc": accuracy(nets, images, y).numpy()}))
    return pd.concat(rows, ignore_index=True)


def gap(table, arm, rival):
    """Difference of test accuracies by seed: mean over targets, then over families."""
    wide = table.pivot(index=AXIS, columns="method", values="test_acc")
    wide = wide.reindex(columns=[arm, rival])
    by_family = (wide[arm] - wide[rival]).dropna().groupby(["seed", "family"]).mean()
    return by_family.groupby("seed").mean()


@study.claim(
    "As accurate as full fine-tuning, with less than 5 % of its parameters",
    source="abstract, Tables 1 and 2; mean over targets of the difference to full tuning, by size "
    "of the training set, above -0.005; parameters of the pairs against the backbone's",
    arm="ssf",
    control="full-default",
    decided_at="full",
)
def matches_full(results, *, arm):
    def evidence(rows):
        return mean(gap(rows, arm, "full"), region=(-0.005, None), label="less full")

    table = results["results"]
    own = where(table, method=arm)
    share = own["n_params"] / own["backbone_params"]
    few = worst(share, region=(None, 0.05), label="share of parameters trained")
    return [*per_group(table.sort_values("n_train"), "n_train", evidence), few]


@study.claim(
    "Better than linear probing, and than prompts and adapters of at least as many parameters",
    source="abstract, Tables 1 and 2; mean difference to linear probing above 0.02, to adapters "
    "and deep prompts above 0; one pair before the linear head can add nothing",
    arm="ssf",
    control="ssf-final",
    decided_at="full",
)
def beats_light_tuning(results, *, arm):
    table = results["results"]
    parts = [mean(gap(table, arm, "linear"), region=(0.02, None), label="less linear probing")]
    wide = table.pivot(index=AXIS, columns="method", values="n_params")
    rivals = [name for name in RIVALS if name in wide]
    wide = wide.reindex(columns=[arm, *rivals])
    for rival in rivals:
        ratio = (wide[arm] / wide[rival]).dropna()
        parts += [
            mean(gap(table, arm, rival), region=(0, None), label=f"less {rival}"),
            worst(ratio, region=(None, 1), label=f"parameters against {rival}"),
        ]
    return parts


@study.claim(
    "No cost at inference: merged, it is the original network",
    source="Section 3.3; same module types, same number of parameters but for created biases, "
    "outputs equal to 1e-5 in float32 and 1e-12 in float64; latency is shown beside it",
    arm="merged",
    control="unmerged",
)
def free_at_inference(merged, *, arm):
    own = where(merged["merge"], form=arm)
    added = own["params_after"] - own["params_before"] - own["created"]
    return [
        worst(own["other_modules"], region=(None, 0), label="modules of another type"),
        worst(added.abs(), region=(None, 0), label="parameters beyond created biases"),
        worst(own["max_abs_diff"], region=(None, 1e-5), label="difference of outputs, float32"),
        worst(own["max_abs_diff_float64"], region=(None, 1e-12), label="the same, float64"),
    ]


@study.claim(
    "It works in convolutional, attention and perceptron networks",
    source="Tables 1 to 3; the difference to linear probing is above 0 in each family",
    arm="ssf",
    control="ssf-final",
    decided_at="full",
)
def works_everywhere(results, *, arm):
    def evidence(rows):
        return mean(gap(rows, arm, "linear"), region=(0, None), label="less linear probing")

    return per_group(results["results"].sort_values("family"), "family", evidence)


@study.figure(
    "Accuracy against trained parameters",
    caption="Test accuracy, mean over targets and sizes; bars are 95 % intervals over seeds.",
)
def accuracy_against_parameters(results):
    table = results["results"]
    table = table.assign(trained=table["n_params"] + table["head_params"])
    groups = table.groupby(["family", "method", "seed"], as_index=False)
    return charts.points(
        groups[["trained", "test_acc"]].mean(), "trained", "test_acc", "method", panel="family",
        log_x=True, x_title="trained parameters, with head", y_title="test accuracy",
    )  # fmt: skip


@study.figure(
    "Outputs before and after merging",
    caption="Largest difference of a logit over the test images, merged and computed in float32 "
    "and in float64; the dashed line is the claim's bound.",
)
def parity_of_merging(merged):
    names = {"max_abs_diff": "float32", "max_abs_diff_float64": "float64"}
    long = (
        where(merged["merge"], form="merged")
        .rename(columns=names)
        .melt(["family"], list(names.values()), "precision", "difference")
    )
    points = charts.scatter(long, "family", "difference", "precision", log_y=True)
    return points + charts.reference_line(1e-5, "1e-5")


@study.figure(
    "Learned scales and shifts",
    caption="All pairs of all runs; values beyond the axis count in its last bins.",
)
def scales_and_shifts(merged):
    counts = merged["factors"].groupby(["kind", "family", "bin"], as_index=False)["count"].sum()
    return charts.lines(counts, "bin", "count", "family", panel="kind", x_title="value")


@study.figure(
    "Accuracy on corrupted images", caption="Mean over seeds, targets, sizes and families."
)
def robustness_curves(robustness):
    keys = ["corruption", "method", "level"]
    means = robustness["robustness"].groupby(keys, as_index=False)["test_acc"].mean()
    return charts.lines(
        means.astype({"level": "str"}), "level", "test_acc", "method", panel="corruption",
        y_title="mean test accuracy",
    )  # fmt: skip
