"""Step: one function of a study, its stage, and what its signature says that it reads."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import pandas as pd
import pyarrow as pa
from pydantic import ValidationError

from overparam.errors import ConfigError, DeclarationError
from overparam.store import TableLike, Tables, Weights
from overparam.study.config import StudyConfig

Stage = Literal["generate", "train", "compress", "evaluate"]
STAGES: tuple[Stage, ...] = ("generate", "train", "compress", "evaluate")

RESERVED = ("progress", "device", "checkpoint")
"""Keyword-only names that are handed in and are not part of a key."""

Each = Mapping[str, str] | Callable[[Any], list[dict[str, Any]]]
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
    """

    owner: Owner
    name: str
    stage: Stage
    function: Callable[..., Any]
    inputs: Mapping[str, "Step"]
    fields: tuple[str, ...]
    reserved: tuple[str, ...] = ()
    each: Each | None = None
    cell_names: tuple[str, ...] = ()
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


@dataclass(frozen=True)
class Signature:
    """A function's parameters, sorted into inputs and keyword-only names."""

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "Signature":
        """Read the signature.

        Raises:
            DeclarationError: the function takes ``*args``, ``**kwargs`` or defaults, which would
                hide what it reads.
        """
        signature = cls(function, (), ())
        inputs: list[str] = []
        names: list[str] = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise signature.error(str(parameter), "hides what the function reads: name each")
            if parameter.default is not parameter.empty:
                raise signature.error(
                    parameter.name, "has a default; put the value in the config, where keys see it"
                )
            keyword_only = parameter.kind is parameter.KEYWORD_ONLY
            (names if keyword_only else inputs).append(parameter.name)
        return cls(function, tuple(inputs), tuple(names))

    def error(self, parameter: str, what: str) -> DeclarationError:
        """A declaration error that names file, line, function and parameter."""
        code = self.function.__code__
        return DeclarationError(
            f"{code.co_filename}:{code.co_firstlineno}: {self.function.__name__}: "
            f"parameter {parameter!r} {what}"
        )

    def resolve_inputs(self, steps: Mapping[str, Step]) -> dict[str, Step]:
        """Match the positional parameters with steps."""
        for name in self.inputs:
            if name == self.function.__name__ and name not in steps:
                raise self.error(name, "makes the step read itself: a cycle")
            if name not in steps:
                raise self.error(
                    name,
                    f"is not a step declared above{nearest(name, steps)} "
                    "(config fields are keyword-only: put them after `*`)",
                )
        return {name: steps[name] for name in self.inputs}

    def check_names(self, config: type[StudyConfig], *, also: Iterable[str] = ()) -> None:
        """Check that each keyword-only parameter is a config field or one of ``also``."""
        known = [*config.model_fields, *also]
        for name in self.names:
            if name not in known:
                raise self.error(name, f"is not a config field{nearest(name, known)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean x?`` or the list of what there is."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=2)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there is {', '.join(names)}" if names else "; there is none"


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
    cell_names = _cell_names(signature, each, config)
    batched = None
    if batch is not None:
        if not (isinstance(each, Mapping) and each and batch >= 1):
            raise signature.error("batch", "needs each={name: list field} and a size of at least 1")
        batched = list(each.items())[-1]
    taken = tuple(n for n in cell_names if batched is None or n != batched[0])
    for cell_name in taken:
        if cell_name not in signature.names:
            raise signature.error(cell_name, "is spread over but not taken (keyword-only)")
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
        inputs=signature.resolve_inputs({**steps, **reads}),
        fields=tuple(n for n in signature.names if n not in from_cell and n not in RESERVED),
        reserved=tuple(n for n in signature.names if n in RESERVED),
        each=each,
        cell_names=cell_names,
        batch=batch,
        batched=batched,
        partial=partial,
        timeout=timeout,
        volatile=volatile,
    )


def _cell_names(
    signature: Signature, each: Each | None, config: type[StudyConfig]
) -> tuple[str, ...]:
    if each is None:
        return ()
    if not isinstance(each, Mapping):
        try:
            cells = each(config.model_validate({}))
        except ValidationError:
            raise signature.error(
                "each", "is a function of the config: every config field then needs a default"
            ) from None
        names = tuple(cells[0]) if cells else ()
        if not cells or any(tuple(cell) != names for cell in cells):
            raise signature.error("each", "must list at least one cell, all with the same names")
        return names
    for cell_name, source in each.items():
        if source not in config.model_fields:
            raise signature.error(
                cell_name,
                f"is spread over {source!r}, not a config field"
                f"{nearest(source, config.model_fields)}",
            )
        if not config.is_list(source):
            raise signature.error(cell_name, f"is spread over {source!r}, which is not a list")
    return tuple(each)


def cell_values(step: Step, config: StudyConfig) -> list[dict[str, Any]]:
    """The cells of a step under a config, in order; ``[{}]`` for a step that is not spread.

    Raises:
        ConfigError: there is none, or one is listed twice (its rows would count twice).
    """
    if step.each is None:
        return [{}]
    if callable(step.each):
        cells = list(step.each(config))
        what = f"the cells of {step.name!r}"
    else:
        cells = [{}]
        for name, source in step.each.items():
            cells = [{**cell, name: value} for cell in cells for value in config.step_value(source)]
        what = f"{' x '.join(step.each.values())}, over which {step.name!r} is spread,"
    if not cells:
        raise ConfigError(f"{what} must not be empty")
    twice = next((cell for index, cell in enumerate(cells) if cell in cells[:index]), None)
    if twice is not None:
        shown = ", ".join(f"{name}={value!r}" for name, value in twice.items())
        raise ConfigError(f"{what} must list a cell once; twice there is {shown}")
    return cells
