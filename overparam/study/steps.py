"""Step: one function of a study, its stage, and what its signature says that it reads."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import pandas as pd
import pyarrow as pa

from overparam.store import TableLike, Tables, Weights
from overparam.study.config import StudyConfig
from overparam.study.signature import Signature
from overparam.study.spread import Each, Spread, cell_names_of, spreads_of

Stage = Literal["generate", "train", "compress", "evaluate"]
STAGES: tuple[Stage, ...] = ("generate", "train", "compress", "evaluate")

RESERVED = ("progress", "device", "checkpoint")
"""Keyword-only names that are handed in and are not part of a key."""

T = TypeVar("T")


def no_progress(items: Iterable[T], **_: Any) -> Iterator[T]:
    """The progress wrapper of a step that is called as a plain function: shows nothing."""
    return iter(items)


class NoCheckpoint:
    """The checkpoint of a step that is called as a plain function: keeps nothing."""

    def load(self) -> None:
        return None

    def save(self, state: Mapping[str, Any]) -> None:
        pass


class Owner(Protocol):
    """What a step knows of the study that owns it."""

    name: str
    config: type[StudyConfig]


@dataclass(frozen=True, eq=False)
class Step:
    """A step of a study; call it as the plain function that it is.

    Called directly, inputs may be ``Tables``, a mapping of data frames or one data frame, the
    reserved names have quiet defaults, and the result is ``Tables`` like in a run.

    ``cell_names`` tell its cells apart; ``cell_values`` are those of them that the function takes.
    """

    owner: Owner
    name: str
    stage: Stage
    function: Callable[..., Any]
    inputs: Mapping[str, "Step"]
    fields: tuple[str, ...]
    reserved: tuple[str, ...] = ()
    each: tuple[Spread, ...] = ()
    cell_names: tuple[str, ...] = ()
    cell_values: tuple[str, ...] = ()
    batch: int | None = None
    batched: tuple[str, str] | None = None
    partial: bool = False
    timeout: float | None = None
    volatile: tuple[str, ...] = field(default=("seconds",))

    def __call__(self, *inputs: Any, **values: Any) -> Tables:
        quiet = {"progress": no_progress, "device": "cpu", "checkpoint": NoCheckpoint()}
        defaults = {name: quiet[name] for name in self.reserved if name not in values}
        named = {name: as_tables(values.pop(name), name) for name in self.inputs if name in values}
        positional = [
            as_tables(value, name) for value, name in zip(inputs, self.inputs, strict=False)
        ]
        return as_tables(self.function(*positional, **named, **defaults, **values), self.name)

    @property
    def study(self) -> str:
        """The name of the study that owns the step."""
        return self.owner.name

    def __repr__(self) -> str:
        return f"<step {self.study}/{self.name} ({self.stage})>"


def named_tables(value: Any, name: str) -> Mapping[str, TableLike]:
    """Normalise what a step returns or is given: one table takes the step's name.

    Raises:
        TypeError: neither a mapping of tables nor a table.
    """
    if isinstance(value, Mapping):
        return value
    if isinstance(value, pd.DataFrame | pa.Table | Weights | Iterator):
        return {name: value}
    raise TypeError(
        f"step {name!r} must give a table or a mapping of tables, not {type(value).__name__}"
    )


def as_tables(value: Any, name: str) -> Tables:
    """What a step returns or is given, as readable tables."""
    return value if isinstance(value, Tables) else Tables.of(named_tables(value, name))


def declare_step(
    function: Callable[..., Any],
    *,
    owner: Owner,
    stage: Stage,
    steps: Mapping[str, Step],
    each: Each | None,
    batch: int | None,
    partial: bool,
    reads: Mapping[str, Step],
    timeout: float | None,
    volatile: tuple[str, ...],
) -> Step:
    """Check a step function against the study declared so far and make the :class:`Step`.

    Raises:
        DeclarationError: an unknown name, a cycle, a spread over something that is no list, a
            batch without a spread; file, function and parameter are named.
    """
    config = owner.config
    signature = Signature.of(function)
    name = function.__name__
    if name in steps or name == "report":
        raise signature.error(name, "is the name of a step that exists already")
    for own in reads:
        if own in steps:
            raise signature.error(own, "in reads= hides a step of this study")
        if own not in signature.inputs:
            raise signature.error(own, "is named in reads= but not taken")
    spreads = spreads_of(each)
    cell_names = cell_names_of(signature, spreads, config)
    inputs = signature.resolve_inputs({**steps, **reads})
    batched = None
    if batch is not None:
        last = spreads[-1] if spreads else None
        if not (isinstance(last, Mapping) and last and batch >= 1):
            raise signature.error(
                "batch", "needs each= to end in {name: list field}, and a size of at least 1"
            )
        batched = list(last.items())[-1]
    aligned = {n for step in inputs.values() for n in step.cell_names}
    for cell_name in cell_names:
        if batched is not None and cell_name == batched[0]:
            continue
        if cell_name not in signature.names and cell_name not in aligned:
            raise signature.error(
                cell_name,
                "is spread over but not taken (keyword-only), and nothing that the step reads is "
                "spread over it: all its cells would be alike",
            )
    if batched is not None and batched[1] not in signature.names:
        raise signature.error(
            batched[1], f"is spread over in batches but not taken: a batch of {batched[0]} values"
        )
    signature.check_names(config, also=(*cell_names, *RESERVED))
    from_cell = {*cell_names, *([batched[1]] if batched else [])}
    return Step(
        owner=owner,
        name=name,
        stage=stage,
        function=function,
        inputs=inputs,
        fields=tuple(n for n in signature.names if n not in from_cell and n not in RESERVED),
        reserved=tuple(n for n in signature.names if n in RESERVED),
        each=spreads,
        cell_names=cell_names,
        cell_values=tuple(
            n for n in cell_names if n in signature.names and (batched is None or n != batched[0])
        ),
        batch=batch,
        batched=batched,
        partial=partial,
        timeout=timeout,
        volatile=volatile,
    )
