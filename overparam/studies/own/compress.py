"""Your own model: which compressor gives the most for its size, measured on the exported files."""

import tempfile
import warnings
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import pandas as pd
from pydantic import AfterValidator, model_validator

from overparam.compress import CannotTreat, LeftAlone
from overparam.compress.budget import METRICS, budget_for, parse_budget
from overparam.compress.composition import composition
from overparam.compress.export import export_model
from overparam.compress.frontier import CELL, frontier, measured_cells, sentence
from overparam.compress.onnx_export import export_onnx
from overparam.datasets import InMemory, own_samples, read_batches, read_schema
from overparam.datasets.sample_files import sample_file
from overparam.measure import measure_exports
from overparam.models import with_weights
from overparam.reporting.compressed import (
    budget_table,
    operating_points,
    pareto_chart,
    remarks_table,
)
from overparam.store import Weights as StoredWeights
from overparam.store import folder_table, write_folders
from overparam.study import DataFile, Factory, Field, Study, StudyConfig, Weights
from overparam.training import Recipe, train_model
from overparam.training.own_model import TRIED, build_model, check_model
from overparam.training.own_task import (
    chosen_task,
    score_of,
    target_text,
    task_of,
    task_source,
    trained_task,
    with_target,
)

WALL_CLOCK = (
    "seconds",
    "why",
    "latency",
    *(f"latency_{size}{end}" for size in (1, 64) for end in ("", "_low", "_high", "_ms")),
)
SAMPLE_MODELS = {
    "digits": ("overparam.models.sample_nets:digits_net", "digit"),
    "breast-cancer": ("overparam.models.sample_nets:breast_cancer_net", "diagnosis"),
}


def _checked(check):
    def validate(value):
        check(value)
        return value

    return AfterValidator(validate)


class Config(StudyConfig):
    sample: Literal["digits", "breast-cancer"] = Field(
        "digits", description="a committed sample with its model; used where no model is given"
    )
    model: Factory | None = Field(
        None, description="file.py:factory or package.module:factory of your torch.nn.Module"
    )
    weights: Weights | None = Field(
        None, description="its trained weights (.safetensors, or a state dict); else trained here"
    )
    data: DataFile | None = Field(None, description="training data, a Parquet file")
    datasets: Factory | None = Field(
        None,
        description="or file.py:callable that returns train and test datasets, and perhaps a Task",
    )
    test: DataFile | None = Field(None, description="test data; else a fifth of the data")
    label: str | None = Field(None, description="column of the label; else it is detected")
    shape: tuple[int, ...] | None = Field(
        None, description="shape of an input column, e.g. 1,28,28"
    )
    standardize: bool = Field(
        True,
        description="scale Parquet inputs by the training part; where weights are given it is "
        "false unless said: they were trained on inputs as they are",
    )
    task: Factory | None = Field(
        None,
        description="file.py:callable that returns a Task; else that of the datasets, or detected",
    )
    validation: float = Field(0.15, gt=0, lt=0.5, description="share for early stopping and choice")
    methods: tuple[Annotated[str, _checked(composition)], ...] = Field(
        ("magnitude", "channels", "int", "magnitude+int8"),
        min_length=1,
        description="compressors; a+b applies b to what a left, +file.py:function is your own",
    )
    ratios: tuple[Annotated[float, Field(gt=1)], ...] = Field(
        (2, 4, 8, 16, 32), min_length=1, description="dense parameters / non-zeros kept"
    )
    bits: tuple[Annotated[int, Field(ge=2, le=8)], ...] = Field(
        (8, 4), min_length=1, description="of quantisers whose name does not fix them"
    )
    seeds: int = Field(3, ge=1, le=1000, description="repetitions of what draws or trains")
    epochs: int = Field(40, ge=1, description="most epochs of the dense training")
    finetune_epochs: int = Field(6, ge=0, description="most epochs after a method; 0: none")
    patience: int = Field(8, ge=1, description="epochs without progress before a training stops")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="of all trainings")
    learning_rate: float = Field(2e-3, gt=0, description="its peak; falls along half a cosine")
    weight_decay: float = Field(1e-4, ge=0, description="of the optimiser")
    batch_size: int = Field(128, ge=1, description="samples per step")
    budget: Annotated[str, _checked(parse_budget)] | None = Field(
        None,
        description="what the choice must keep: accuracy>=0.95*dense, bytes<=200k, "
        "latency<=0.5*dense; several with commas; else accuracy>=0.99*dense or rmse<=1.05*dense",
    )
    onnx: bool = Field(False, description="export to ONNX too (needs the extra onnx)")
    profiles: ClassVar = {"quick": {}, "full": {}}

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given):
        """A sample brings model, data and label, which then count like any others by content; and
        inputs stay as they are where trained weights were trained on them."""
        given = dict(given)
        sample = given.get("sample", "digits")
        if given.get("model") is None and sample in SAMPLE_MODELS:
            own = ("weights", "data", "datasets", "test", "label", "shape", "task")
            if lonely := [name for name in own if given.get(name) is not None]:
                raise ValueError(f"{lonely[0]} is given without model; allowed: give both")
            model, label = SAMPLE_MODELS[sample]
            given |= {"model": model, "data": str(sample_file(sample)), "label": label}
        given.setdefault("standardize", given.get("weights") is None)
        return given

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.data is None) == (self.datasets is None):
            raise ValueError("model needs either data (a Parquet file) or datasets (a callable)")
        if self.datasets is not None and (self.test, self.label, self.shape) != (None,) * 3:
            raise ValueError("test, label and shape describe Parquet files, not datasets")
        return self

    def cell_places(self, name, value):
        """A method counts by its own code, so that changing one runs its cells alone."""
        return composition(value).places if name == "method" else ()


study = Study(
    "compress",
    theme="own",
    config=Config,
    question="Which compressor gives the best accuracy for its size and speed on this model and "
    "data? Every number is measured on the exported file, loaded in a fresh process.",
)


def cells(config):
    """Method by ratio, bits and seed, each only where the method asks for it."""
    found = []
    for text in config.methods:
        made = composition(text)
        found += [
            {"method": text, "ratio": ratio, "bits": bits, "seed": seed}
            for ratio in (config.ratios if made.takes_ratio else (None,))
            for bits in (config.bits if made.takes_bits else (made.fixed_bits,))
            for seed in config.seed_values()[: None if made.repeats else 1]
        ]
    return found


def outputs_of(task, data, model):
    return task.outputs(model, data.take(TRIED)[0])


@study.generate
def samples(*, data, datasets, test, label, shape, standardize, validation, seed):
    """Training, validation and test samples, checked; and how they were prepared."""
    return own_samples(
        data or datasets,
        test=test,
        label=label,
        shape=shape,
        standardize=standardize,
        validation=validation,
        seed=seed,
    ).tables()


@study.train
def dense(
    samples, *, model, weights, datasets, task, epochs, patience, optimizer, learning_rate,
    weight_decay, batch_size, seed, progress,
):  # fmt: skip
    """The dense model: as it is given, or trained here; and its export."""
    chosen, train = task_of(task, samples, datasets), read_batches(samples, "train")
    held_out = read_batches(samples, "validation")
    net = build_model(model, seed=seed, weights=weights)
    check_model(net, chosen, train)
    history = pd.DataFrame({"epoch": []})
    if weights is None:
        chosen = trained_task(chosen, train)
        recipe = Recipe(epochs, learning_rate, optimizer, weight_decay, batch_size, patience)
        history = train_model(
            net, train, chosen, recipe, seed=seed, validation=held_out, progress=progress
        ).frame()
    facts = {
        "seed": seed,
        "trained_here": weights is None,
        "target": target_text(chosen),
        "validation": score_of(net, held_out, chosen),
    }
    with tempfile.TemporaryDirectory() as folder:
        reference = build_model(model, seed=seed)
        check_model(reference, chosen, train)  # gives lazy layers their sizes
        export_model(net, reference, Path(folder), outputs=partial(outputs_of, chosen, train))
        return {
            "facts": pd.DataFrame([facts]),
            "history": history,
            "weights": StoredWeights.stack([({}, net.state_dict())]),
            "files": folder_table(Path(folder)),
        }


@study.compress(each=cells)
def compressed(
    samples, dense, *, method, ratio, bits, seed, model, datasets, task, epochs, finetune_epochs,
    patience, optimizer, learning_rate, weight_decay, batch_size, onnx,
):  # fmt: skip
    """One method at one ratio: fine-tuned, exported; or why it could not treat the model."""
    chosen = with_target(task_of(task, samples, datasets), dense["facts"]["target"][0])
    train, held_out = read_batches(samples, "train"), read_batches(samples, "validation")
    initial = build_model(model, seed=int(dense["facts"]["seed"][0]))
    check_model(initial, chosen, train)  # gives lazy layers their sizes
    net = with_weights(deepcopy(initial), dense.weights("weights"))
    recipe = Recipe(finetune_epochs, learning_rate, optimizer, weight_decay, batch_size, patience)
    with warnings.catch_warnings(record=True) as caught, tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("always", LeftAlone)
        try:
            small = composition(method)(
                net,
                ratio=ratio,
                bits=bits,
                data=train,
                validation=held_out,
                task=chosen,
                recipe=recipe,
                anew=replace(recipe, epochs=epochs),
                initial=initial,
                seed=seed,
            )
        except CannotTreat as reason:
            return {"outcome": pd.DataFrame({"state": ["skipped"], "reason": [str(reason)]})}
        check_model(small, chosen, train)
        export_model(small, initial, Path(folder), outputs=partial(outputs_of, chosen, train))
        notes = [str(w.message) for w in caught if issubclass(w.category, LeftAlone)]
        if onnx:
            notes += export_onnx(small, train.take(3)[0], Path(folder), call=chosen.outputs).notes
        outcome = {
            "state": "completed",
            "reason": "",
            "left_alone": "; ".join(dict.fromkeys(notes)),
            "validation": score_of(small, held_out, chosen),
        }
        return {"outcome": pd.DataFrame([outcome]), "files": folder_table(Path(folder))}


@study.evaluate(partial=True, volatile=WALL_CLOCK)
def measured(samples, dense, compressed, *, model, datasets, task):
    """Every exported file, loaded by its own loader in one fresh process, beside the dense one."""
    schema = read_schema(samples)
    chosen = with_target(task_of(task, samples, datasets), dense["facts"]["target"][0])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        given = write_folders(dense, "files", root / "dense")
        exported = "files" in compressed  # not where every method was skipped
        small = write_folders(compressed, "files", root / "small", by=CELL) if exported else {}
        rows = measure_exports(
            {"dense": given[()], **{str(i): place for i, place in enumerate(small.values())}},
            factory=model,
            data=read_batches(samples, "test"),
            task=chosen,
            task_factory=task_source(task, datasets, schema["own_task"]),
        )
    reference = {**rows["dense"], "validation": dense["facts"]["validation"][0]}
    found = {cell: rows[str(index)] for index, cell in enumerate(small)}
    metric = {"metric": [METRICS[schema["kind"]]], "kind": [schema["kind"]]}
    return {
        "cells": measured_cells(compressed["outcome"], found),
        "dense": pd.DataFrame([reference]),
        "task": pd.DataFrame(metric),
    }


@study.evaluate
def front(measured, *, budget):
    """Means over seeds, what is not dominated, and what suits the budget."""
    cells, given = measured["cells"], measured["dense"].iloc[0]
    kind, metric = measured["task"].loc[0, ["kind", "metric"]]
    spend = budget_for(budget, kind)
    found = frontier(cells[cells["state"] == "completed"], given, spend, metric)
    answer = pd.DataFrame({"answer": [sentence(found, given, spend, metric)], "metric": [metric]})
    return {"front": found, "answer": answer, "dense": measured["dense"]}


@study.answer
def answer(front):
    return front["answer"]["answer"][0]


@study.figure(
    "By your budget",
    caption="Means over seeds. The first row is the choice, made on validation samples; the rows "
    "with a yes keep the budget there. Latency: one sample, one thread, beside the dense model.",
)
def by_budget(front):
    metric = front["answer"]["metric"][0]
    return budget_table(front["front"], front["dense"].iloc[0], metric)


@study.figure(
    "Accuracy against bytes on disk",
    caption="Each point is a method at a setting, the bar spans its seeds; the line is the front, "
    "what another point beats is faded. The diamond is the dense model.",
)
def against_bytes(front):
    return _pareto(front, "bytes", "bytes on disk")


@study.figure(
    "Accuracy against latency",
    caption="Median time of one sample on one thread, as a share of the dense model's, taken in "
    "turns with it.",
)
def against_latency(front):
    return _pareto(front, "latency", "latency, share of the dense model's", log=False)


@study.figure("Accuracy against FLOPs", caption="Of one sample, counted on the loaded model.")
def against_flops(front):
    return _pareto(front, "flops", "FLOPs of one sample")


def _pareto(front, cost, title, log=True):
    return pareto_chart(
        front["front"],
        front["dense"].iloc[0],
        cost=cost,
        title=title,
        metric=front["answer"]["metric"][0],
        log=log,
    )


@study.figure(
    "At the compression ratios of ShrinkBench",
    caption="Test score, mean and range over seeds, at the ratios of parameters at which Blalock "
    "et al. (2020) ask to compare.",
)
def at_ratios(front):
    return operating_points(front["front"], front["answer"]["metric"][0])


@study.figure(
    "What did not go as asked",
    caption="Methods that could not treat this model, layers that they left alone, files that are "
    "no faster although they are smaller; and why.",
)
def remarks(measured):
    return remarks_table(measured["cells"])


def try_inputs(config: Config) -> None:
    """Check data, model, weights, task and budget by what can be tried without training.

    Raises:
        ValueError, ImportError, OSError: names what is wrong and what is allowed.
    """
    value = config.step_value
    found = own_samples(
        value("data") or value("datasets"),
        test=value("test"),
        label=config.label,
        shape=config.shape,
        standardize=config.standardize,
        validation=config.validation,
        seed=config.seed,
    )
    budget_for(config.budget, found.kind)
    net = build_model(value("model"), seed=config.seed, weights=value("weights"))
    source = task_source(config.task, config.datasets, found.own_task)
    task = chosen_task(source, found.kind, found.classes)
    check_model(net, task, InMemory(*found.first(TRIED)))
