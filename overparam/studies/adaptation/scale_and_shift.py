"""Study 58: is one scale and shift per channel enough to adapt a frozen network?"""

from functools import partial
from typing import Annotated, ClassVar

import pandas as pd

from overparam.adapt import (
    METHODS,
    load_tuned,
    merge_parity,
    pair_histogram,
    prepared_members,
    replace_head,
    tuned_state,
    tuning_report,
)
from overparam.datasets import (
    DIGITS_FILE,
    TARGETS,
    corrupted_members,
    digit_target,
    member_samples,
    own_target,
    samples_table,
    signal_target,
)
from overparam.evidence import mean, per_group, where, worst
from overparam.measure import corruption_accuracy
from overparam.models import stored_members
from overparam.reporting import charts
from overparam.store import Weights
from overparam.studies.bases.digit_nets import IMAGE, Family, network, pretrained
from overparam.study import DataFile, Field, OneOf, Paper, Study, StudyConfig
from overparam.training import Ensemble, cosine, rate_search, spared_adamw

SUITE = (*TARGETS, "mnist1d")
Task = Annotated[str, OneOf((*SUITE, "own"))]
Method = Annotated[str, OneOf(METHODS)]
# Of as many trained parameters as SSF, at least.
RIVALS = ("adapter", "vpt-deep")
# The columns that tell targets apart.
AXIS = ["seed", "family", "task", "n_train"]


class Config(StudyConfig):
    families: tuple[Family, ...] = Field(
        ("mlp", "convnext", "vit"), description="pretrained networks"
    )
    tasks: tuple[Task, ...] = Field(SUITE, description="targets to adapt to")
    train_sizes: tuple[int, ...] = Field((60, 200), description="training examples of a target")
    costly_tasks: tuple[Task, ...] | None = Field(
        None, description="targets of convnext and vit, which take 4 and 10 times the MLP's time"
    )
    costly_sizes: tuple[int, ...] | None = Field(
        None, description="training examples of convnext and vit"
    )
    methods: tuple[Method, ...] = Field(METHODS, description="ways to adapt")
    digits_file: DataFile = Field(DIGITS_FILE, description="scikit-learn's digits")
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
    cells = []
    for family in config.families:
        tasks, sizes = config.tasks, config.train_sizes
        if family != "mlp":
            tasks, sizes = config.costly_tasks or tasks, config.costly_sizes or sizes
        cells += [{"family": family, "task": t, "n_train": n} for t in tasks for n in sizes]
    return cells


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


def new_heads(base, data, family, seeds):
    """The pretrained network of each seed, with a fresh head for the target."""
    classes = int(data.array("data", "y").max()) + 1
    nets = stored_members(partial(network, family), base, "weights", seeds)
    return [replace_head(net.eval(), classes, seed=s) for net, s in zip(nets, seeds, strict=True)]


def prepared(nets, method, seeds, shallow_prompts):
    """The networks ready for a method; rivals train at least as many parameters as SSF."""
    size = shallow_prompts if method == "vpt-shallow" else None
    return prepared_members(nets, method, seeds, size=size)


def adapted(nets, tuned, method, seeds, shallow_prompts):
    """The networks as the step ``tuned`` left them: frozen weights, and what it stored."""
    return [
        load_tuned(net, tuned.weights("trained", method=method, seed=seed)).eval()
        for net, seed in zip(prepared(nets, method, seeds, shallow_prompts), seeds, strict=True)
    ]


@study.generate(each={"task": "tasks", "n_train": "train_sizes", "seed": "seeds"}, batch=16)
def data(*, task, n_train, seeds, digits_file, own_file, own_val):
    """Training, validation and test images of a target."""
    targets_of = {
        "own": partial(own_target, own_file, n_val=own_val, shape=IMAGE),
        "mnist1d": signal_target,
        **{name: partial(digit_target, name, file=digits_file) for name in TARGETS},
    }
    found = {seed: targets_of[task](n_train=n_train, seed=seed) for seed in seeds}
    return samples_table({seed: target.parts for seed, target in found.items()})


@study.train(each=runs, reads={"base": pretrained})
def tuned(
    base, data, *, family, task, n_train, method, seeds, steps, batch_size, full_rates,
    tuning_rates, weight_decay, shallow_prompts, progress,
):  # fmt: skip
    """One method at several learning rates, all seeds and rates as one ensemble.

    ``runs`` has a row per seed and rate, ``chosen`` where validation was best (ties: the smaller
    rate); ``trained`` holds what the chosen runs trained.
    """
    models = prepared(new_heads(base, data, family, seeds), method, seeds, shallow_prompts)
    epochs = max(1, round(steps / -(-n_train // batch_size)))
    search = rate_search(
        models,
        seeds,
        full_rates if method == "full" else tuning_rates,
        **{p: member_samples(data, seeds, p, name="data") for p in ("train", "val", "test")},
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(spared_adamw, weight_decay=weight_decay),
        schedule=cosine(warmup=epochs // 10),
        progress=progress,
    )
    size = tuning_report(models[0])
    return {
        "runs": search.runs.assign(
            n_params=size.tuned, head_params=size.head, backbone_params=size.backbone
        ),
        "trained": Weights.by_seed(seeds, map(tuned_state, search.best)),
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
    images, _ = member_samples(data, seeds, "test", name="data")
    merge, factors = [], []
    for seed, plain, model, x in zip(seeds, bases, models, images, strict=True):
        merge.append(merge_parity(plain, model, x).assign(seed=seed))
        factors.append(pair_histogram(model).assign(seed=seed))
    return {
        "merge": pd.concat(merge, ignore_index=True),
        "factors": pd.concat(factors, ignore_index=True),
    }


@study.evaluate
def results(tuned):
    """The chosen run of each seed; ``full-default`` is full tuning at its middle rate."""
    table = tuned["runs"]
    rates = sorted(where(table, method="full")["lr"].unique())
    middle = rates[len(rates) // 2 :][:1]
    default = where(table, method="full", lr=middle).assign(method="full-default")
    return pd.concat([table[table["chosen"]], default], ignore_index=True).drop(columns="chosen")


@study.evaluate(each=targets, reads={"base": pretrained})
def robustness(base, data, tuned, *, family, task, n_train, seeds, shallow_prompts):
    """Accuracy of the chosen runs on corrupted test images."""
    bases = new_heads(base, data, family, seeds)
    x, y = member_samples(data, seeds, "test", name="data")
    harder = corrupted_members(x, seeds)
    tables = []
    for method in tuned["runs"]["method"].unique():
        nets = Ensemble(adapted(bases, tuned, method, seeds, shallow_prompts))
        tables.append(corruption_accuracy(nets, harder, y, seeds).assign(method=method))
    return pd.concat(tables, ignore_index=True)


def by_method(table, column, *methods):
    """A row per target and a column per method; NaN where a method was not run."""
    return table.pivot(index=AXIS, columns="method", values=column).reindex(columns=[*methods])


def gap(table, arm, rival):
    """Difference of test accuracies by seed: mean over targets, then over families."""
    wide = by_method(table, "test_acc", arm, rival)
    by_family = (wide[arm] - wide[rival]).dropna().groupby(["seed", "family"]).mean()
    return by_family.groupby("seed").mean()


def ahead(table, arm, rival, *, by):
    """Evidence that a method's accuracy exceeds a rival's by so much."""
    name = "linear probing" if rival == "linear" else rival
    return mean(gap(table, arm, rival), region=(by, None), label=f"less {name}")


@study.claim(
    "As accurate as full fine-tuning, with less than 5 % of its parameters",
    source="abstract, Tables 1 and 2; mean over targets of the difference to full tuning, by size "
    "of the training set, above -0.005; parameters of the pairs against the backbone's",
    arm="ssf",
    control="full-default",
    decided_at="full",
)
def matches_full(results, *, arm):
    table = results["results"].sort_values("n_train")
    own = where(table, method=arm)
    share = own["n_params"] / own["backbone_params"]
    return [
        *per_group(table, "n_train", lambda rows: ahead(rows, arm, "full", by=-0.005)),
        worst(share, region=(None, 0.05), label="share of parameters trained"),
    ]


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
    parts = [ahead(table, arm, "linear", by=0.02)]
    for rival in [name for name in RIVALS if name in table["method"].unique()]:
        wide = by_method(table, "n_params", arm, rival)
        ratio = (wide[arm] / wide[rival]).dropna()
        parts += [
            ahead(table, arm, rival, by=0),
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
    table = results["results"].sort_values("family")
    return per_group(table, "family", lambda rows: ahead(rows, arm, "linear", by=0))


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
