"""Spread: over what a step runs once per cell, and the cells that follow from a config."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from overparam.errors import ConfigError
from overparam.study.config import StudyConfig
from overparam.study.signature import Signature, nearest

Cells = Callable[[Any], list[dict[str, Any]]]
"""A function of the config that lists cells."""

Spread = Mapping[str, str] | Cells
"""``{"cell name": "list field"}``, or a function."""

Each = Spread | Sequence[Spread]
"""One spread, or several whose cells are combined, each with each."""


def spreads_of(each: Each | None) -> tuple[Spread, ...]:
    """The parts whose product are the cells; none for a step that is not spread."""
    if each is None:
        return ()
    return (each,) if isinstance(each, Mapping) or callable(each) else tuple(each)


def cell_names_of(
    signature: Signature, spreads: Iterable[Spread], config: type[StudyConfig]
) -> tuple[str, ...]:
    """The names of the cells' values, in order.

    Raises:
        DeclarationError: a field that is none or no list, a function that lists no cells or unlike
            ones, a name that is spread over twice.
    """
    names: list[str] = []
    for spread in spreads:
        found = (
            _listed_names(signature, spread, config)
            if isinstance(spread, Mapping)
            else _function_names(signature, spread, config)
        )
        for name in found:
            if name in names:
                raise signature.error(name, "is spread over twice")
            names.append(name)
    return tuple(names)


def _listed_names(
    signature: Signature, spread: Mapping[str, str], config: type[StudyConfig]
) -> tuple[str, ...]:
    for name, source in spread.items():
        if source not in config.model_fields:
            raise signature.error(
                name,
                f"is spread over {source!r}, not a config field"
                f"{nearest(source, config.model_fields)}",
            )
        if not config.is_list(source):
            raise signature.error(name, f"is spread over {source!r}, which is not a list")
    return tuple(spread)


def _function_names(
    signature: Signature,
    spread: Cells,
    config: type[StudyConfig],
) -> tuple[str, ...]:
    try:
        cells = spread(config.model_validate({}))
    except ValidationError:
        raise signature.error(
            "each", "is a function of the config: every config field then needs a default"
        ) from None
    names = tuple(cells[0]) if cells else ()
    if not cells or any(tuple(cell) != names for cell in cells):
        raise signature.error("each", "must list at least one cell, all with the same names")
    return names


def cell_values(step: str, spreads: Iterable[Spread], config: StudyConfig) -> list[dict[str, Any]]:
    """The cells of a step under a config, in order; ``[{}]`` for a step that is not spread.

    Raises:
        ConfigError: there is none, or one is listed twice (its rows would count twice).
    """
    cells: list[dict[str, Any]] = [{}]
    names: list[str] = []
    for spread in spreads:
        if isinstance(spread, Mapping):
            names += spread.values()
            for name, source in spread.items():
                values = config.step_value(source)
                cells = [{**cell, name: value} for cell in cells for value in values]
        else:
            names.append(getattr(spread, "__name__", "a function"))
            cells = [{**cell, **more} for cell in cells for more in spread(config)]
    what = f"{' x '.join(names)}, over which {step!r} is spread,"
    if not cells:
        raise ConfigError(f"{what} must not be empty")
    twice = next((cell for index, cell in enumerate(cells) if cell in cells[:index]), None)
    if twice is not None:
        shown = ", ".join(f"{name}={value!r}" for name, value in twice.items())
        raise ConfigError(f"{what} must list a cell once; twice there is {shown}")
    return cells
