"""``overparam compress``: your own model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import (
    EphemeralOption,
    FreshOption,
    JsonOption,
    StoreOption,
    VerboseOption,
    WorkersOption,
)
from flows.cli.running import run_and_tell, worker_count
from overparam.errors import BadInput

if TYPE_CHECKING:
    from flows.server import Api
    from flows.study import StudyRun

Text = str | None


def compress(
    sample: Annotated[
        Text, typer.Option(help="A committed sample with its model: digits or breast-cancer.")
    ] = None,
    model: Annotated[
        Text, typer.Option(help="file.py:factory or package.module:factory; its code is run.")
    ] = None,
    weights: Annotated[
        Text, typer.Option(help="Trained weights: .safetensors or a state dict; else trained here.")
    ] = None,
    data: Annotated[
        Text, typer.Option(help="A Parquet file, or file.py:callable giving train and test.")
    ] = None,
    test: Annotated[
        Text, typer.Option(help="Test data, Parquet; else a fifth of the data.")
    ] = None,
    label: Annotated[Text, typer.Option(help="Column of the label; else detected.")] = None,
    shape: Annotated[Text, typer.Option(help="Shape of an input column, e.g. 1,28,28.")] = None,
    standardize: Annotated[
        bool | None,
        typer.Option(
            help="Scale Parquet inputs by the training part.",
            show_default="yes, without --weights",
        ),
    ] = None,
    task: Annotated[Text, typer.Option(help="file.py:callable that gives a Task.")] = None,
    methods: Annotated[
        Text, typer.Option(help="Comma-separated; a+b composes; +file.py:function is your own.")
    ] = None,
    ratios: Annotated[Text, typer.Option(help="Dense parameters / non-zeros kept.")] = None,
    bits: Annotated[Text, typer.Option(help="Of quantisers, 2 to 8.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Repetitions of what draws or trains.", show_default="3")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Root of all randomness.", show_default="0")
    ] = None,
    budget: Annotated[
        Text,
        typer.Option(
            help="What the choice must keep, e.g. accuracy>=0.95*dense, bytes<=200k, "
            "latency<=0.5*dense."
        ),
    ] = None,
    pick: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the chosen model's files here.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs of the dense training.")] = None,
    finetune_epochs: Annotated[
        int | None, typer.Option(help="Most epochs after a method; 0: none.")
    ] = None,
    optimizer: Annotated[Text, typer.Option(help="adamw, adam or sgd.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, its peak.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples per step.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Export to ONNX too.")] = False,
    list_methods: Annotated[
        bool, typer.Option("--list-methods", help="Name the methods and what they do, and stop.")
    ] = False,
    store: StoreOption = None,
    workers: WorkersOption = None,
    fresh: FreshOption = False,
    ephemeral: EphemeralOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Compress your own model in many ways and say which suits your budget.

    Every number is measured on the exported file, loaded in a fresh process without overparam.

    Examples:

        overparam compress --sample digits

        overparam compress --model net.py:make --weights net.safetensors --data train.parquet

        overparam compress --sample digits --methods magnitude,channels+distill --ratios 4,8
    """
    if list_methods:
        _print_methods()
        return
    if (sample is None) == (model is None):
        raise BadInput(
            "compress takes --model FILE.py:FACTORY with --data, or --sample digits to try it"
        )
    callable_data = data is not None and ":" in Path(data).name
    given = {
        "sample": sample,
        "model": model,
        "weights": weights,
        "datasets" if callable_data else "data": data,
        "test": test,
        "label": label,
        "shape": shape,
        "standardize": standardize,
        "task": task,
        "methods": methods,
        "ratios": ratios,
        "bits": bits,
        "seeds": seeds,
        "seed": seed,
        "budget": budget,
        "epochs": epochs,
        "finetune_epochs": finetune_epochs,
        "optimizer": optimizer,
        "learning_rate": lr,
        "batch_size": batch_size,
        "onnx": onnx or None,
    }
    settings = _settings(given)
    if pick is not None and pick.exists() and (not pick.is_dir() or any(pick.iterdir())):
        raise BadInput(f"--pick {pick} is not an empty folder; what lies there is not overwritten")
    from flows.compress import check

    check(settings)

    def start() -> "list[StudyRun]":
        from flows.compress import compress as flow
        from flows.study import StepsFailed

        try:
            return [flow(settings, store, worker_count(workers), fresh)]
        except StepsFailed as failure:
            return list(failure.runs)

    def tell(runs: "list[StudyRun]", api: "Api | None") -> None:
        _tell(runs[0], api, store, pick, as_json=as_json)

    run_and_tell(start, store, ephemeral=ephemeral, as_json=as_json, tell=tell)


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Config fields as the command line's words say them."""
    from overparam.studies.own.compress import Config

    return {
        name: Config.parse_setting(f"{name}={value}")[1] if isinstance(value, str) else value
        for name, value in given.items()
        if value is not None
    }


def _print_methods() -> None:
    from rich.console import Console
    from rich.table import Table

    from overparam.compress import load_method, method_names

    table = Table(title="compressors", title_justify="left")
    for column in ("method", "what it does", "asks for"):
        table.add_column(column)
    for name in method_names():
        method = load_method(name)
        knobs = [need for need in method.needs if need in ("ratio", "bits")]
        table.add_row(name, method.summary, " and ".join(knobs))
    Console().print(table)
    typer.echo(
        "int8, int4, gptq4, ...: a quantiser with its bits. a+b: b after a. a+distill: fine-tuned "
        "to the dense model's outputs. +file.py:function: your own."
    )


def _tell(
    run: "StudyRun", api: "Api | None", store: str | None, folder: Path | None, *, as_json: bool
) -> None:
    from flows.compress import outcome, pick
    from overparam.store import Store

    opened = Store.open(store)
    found, files, unmet = outcome(run, opened), [], None
    try:
        files = [] if folder is None else pick(run, opened, folder)
    except BadInput as error:
        unmet = error
    if as_json:
        typer.echo(json.dumps({**found, "files": [str(file) for file in files]}, indent=2))
    else:
        from flows.cli.tables import print_front, print_runs

        print_front(found)
        print_runs([run], api)
        for file in files:
            typer.echo(f"wrote {file}")
    if unmet is not None:
        raise unmet
