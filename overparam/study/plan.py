"""Plan: the cells of a run, what each reads, and the key under which its artifact lies."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from overparam.errors import ConfigError
from overparam.fingerprint import Fingerprint, SourceTree
from overparam.store import ArtifactRef
from overparam.study.config import StudyConfig
from overparam.study.declaration import Declaration
from overparam.study.sources import FactorySource, code_name, source_tree, split_factory
from overparam.study.spread import cell_values
from overparam.study.steps import Step

KEY_LENGTH = 32


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of a step: its values and the upstream cells that align with it."""

    step: Step
    values: Mapping[str, Any]
    inputs: Mapping[str, tuple["Cell", ...]]

    @property
    def label(self) -> str:
        """``method=roast · seed=3``; empty for a step that is not spread."""
        return _label(self.values)

    @property
    def name(self) -> str:
        """``train · parameter-sharing · dense · seed=3``: stage, study, step, cell."""
        return _name(self.step, self.values)


@dataclass(frozen=True, eq=False)
class Unit:
    """What one call of a step function computes: one cell, or a batch of cells."""

    step: Step
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The cell's name; for a batch, the values of the batched name are listed."""
        values = dict(self.cells[0].values)
        if self.step.batched is not None:
            name = self.step.batched[0]
            values[name] = ",".join(_shown(cell.values[name]) for cell in self.cells)
        return _name(self.step, values)


def _name(step: Step, values: Mapping[str, Any]) -> str:
    return " · ".join(filter(None, (step.stage, step.study, step.name, _label(values))))


def _label(values: Mapping[str, Any]) -> str:
    shown = ((name, value) for name, value in values.items() if value is not None)
    return " · ".join(f"{name}={_shown(value)}" for name, value in shown)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(eq=False)
class Plan:
    """The cells of one study under one config, in an order in which they can run.

    Cells that failed are marked with :meth:`lose`; a ``partial`` step then reads, and its key
    holds, only the cells that are there.
    """

    study: Declaration
    config: StudyConfig
    profile: str
    bases: Mapping[str, tuple[Declaration, StudyConfig]] = field(default_factory=dict)
    lost: set[Cell] = field(default_factory=set, init=False)
    _keys: dict[Cell, str] = field(default_factory=dict, init=False)

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, upstream first, the cells of shared bases included.

        Raises:
            ConfigError: no cell of what a step reads fits one of its own cells.
        """
        made: dict[Step, list[Cell]] = {}
        for step in self._ordered_steps():
            made[step] = []
            for values in cell_values(step.name, step.each, self._config_of(step)):
                inputs = {n: _aligned(values, made[up]) for n, up in step.inputs.items()}
                for name, upstream in inputs.items():
                    if not upstream:
                        there = "; ".join(cell.label for cell in made[step.inputs[name]][:5])
                        raise ConfigError(
                            f"{_name(step, values)} reads {name!r}, of which no cell fits; "
                            f"its cells: {there}"
                        )
                made[step].append(Cell(step, values, inputs))
        return [cell for cells in made.values() for cell in cells]

    def cells_of(self, step: Step) -> list[Cell]:
        return [cell for cell in self.cells if cell.step is step]

    @cached_property
    def units(self) -> list[Unit]:
        """The cells grouped into calls: cells of a batch differ in the batched name alone."""
        units: list[Unit] = []
        for step in self._ordered_steps():
            cells = self.cells_of(step)
            if step.batched is None or step.batch is None:
                units += [Unit(step, (cell,)) for cell in cells]
                continue
            groups: dict[str, list[Cell]] = {}
            for cell in cells:
                rest = {n: v for n, v in cell.values.items() if n != step.batched[0]}
                groups.setdefault(json.dumps(rest, default=str), []).append(cell)
            for group in groups.values():
                units += [
                    Unit(step, tuple(group[start : start + step.batch]))
                    for start in range(0, len(group), step.batch)
                ]
        return units

    def lose(self, cell: Cell) -> None:
        """Mark a cell as failed or skipped."""
        self.lost.add(cell)
        self._keys.clear()

    def readable(self, cell: Cell) -> bool:
        """Whether the cell can run: its inputs are there, or it can live with holes."""
        if cell.step.partial:
            return all(any(up not in self.lost for up in ups) for ups in cell.inputs.values())
        return not any(up in self.lost for ups in cell.inputs.values() for up in ups)

    def present(self, cell: Cell) -> dict[str, list[Cell]]:
        """The upstream cells that the cell reads, by parameter."""
        return {n: [up for up in ups if up not in self.lost] for n, ups in cell.inputs.items()}

    def key(self, cell: Cell) -> str:
        """The key of a cell: a hash of step, stage, config read, cell, upstream keys and code."""
        key = self._keys.get(cell)  # once: another thread may lose a cell meanwhile
        if key is None:
            key = self._keys[cell] = digest(self.key_parts(cell))
        return key

    def key_parts(self, cell: Cell) -> dict[str, Any]:
        """What the key is a hash of; kept in the manifest, so that ``why`` can tell."""
        step = cell.step
        return {
            "study": step.study,
            "step": step.name,
            "stage": step.stage,
            "config": {name: self._content(step, name) for name in step.fields},
            "cell": dict(cell.values),
            "upstream": {
                name: [self.key(up) for up in ups] for name, ups in self.present(cell).items()
            },
            "code": self.fingerprint(step).digest,
            **self._named_code(cell),
        }

    def _named_code(self, cell: Cell) -> dict[str, Any]:
        """Fingerprints of what the cell's values name; nothing for the most part."""
        config = self._config_of(cell.step)
        named = {name: config.cell_places(name, value) for name, value in cell.values.items()}
        found = {n: [self._code_at(p) for p in places] for n, places in named.items() if places}
        return {"cell_code": found} if found else {}

    def _code_at(self, place: str) -> str:
        """The fingerprint of the callable that ``module:name`` or ``file.py:name`` names."""
        if place not in self._places:
            module, name = split_factory(place)
            spec = None if module.endswith(".py") else find_spec(module)
            if spec is None or spec.origin is None:
                self._places[place] = FactorySource().digest(place)
            else:
                tree = self._tree(module, Path(spec.origin))
                self._places[place] = tree.fingerprint(module, name).digest
        return self._places[place]

    @cached_property
    def _places(self) -> dict[str, str]:
        return {}

    def ref(self, cell: Cell) -> ArtifactRef:
        """Where the cell's artifact lies; a base's artifact lies with its owner."""
        return ArtifactRef(cell.step.study, cell.step.name, self.key(cell))

    def fingerprint(self, step: Step) -> Fingerprint:
        """The code that the step's function reaches."""
        return self.code_of(step.function.__module__, step.function.__qualname__)

    def code_of(self, module: str, qualname: str) -> Fingerprint:
        """The code that a function of this study (or of a base) reaches."""
        if (module, qualname) not in self._fingerprints:
            file = Path(str(sys.modules[module].__file__)).resolve()
            found = self._tree(module, file).fingerprint(code_name(module, file), qualname)
            self._fingerprints[module, qualname] = found
        return self._fingerprints[module, qualname]

    def values(self, step: Step, cells: tuple[Cell, ...]) -> dict[str, Any]:
        """The keyword arguments of one call, the reserved names apart."""
        config = self._config_of(step)
        values = {name: config.step_value(name) for name in step.fields}
        values |= {name: cells[0].values[name] for name in step.cell_values}
        if step.batched is not None:
            name, plural = step.batched
            values[plural] = tuple(cell.values[name] for cell in cells)
        return values

    @cached_property
    def _fingerprints(self) -> dict[tuple[str, str], Fingerprint]:
        return {}

    @cached_property
    def _contents(self) -> dict[tuple[str, str], Any]:
        return {}

    def _content(self, step: Step, name: str) -> Any:
        """What a field contributes to keys; a large data file is read once, not once per cell."""
        field = (step.study, name)
        if field not in self._contents:
            self._contents[field] = self._config_of(step).content(name)
        return self._contents[field]

    @cached_property
    def _trees(self) -> dict[str, SourceTree]:
        return {}

    def _tree(self, module: str, file: Path) -> SourceTree:
        top = module.partition(".")[0]
        if top not in self._trees:
            self._trees[top] = source_tree(module, file)
        return self._trees[top]

    def _config_of(self, step: Step) -> StudyConfig:
        return self.config if step.study == self.study.name else self.bases[step.study][1]

    def _ordered_steps(self) -> Iterator[Step]:
        seen: set[Step] = set()

        def visit(step: Step) -> Iterator[Step]:
            if step in seen:
                return
            seen.add(step)
            for upstream in step.inputs.values():
                yield from visit(upstream)
            yield step

        for step in self.study.steps.values():
            yield from visit(step)


def make_plan(
    study: Declaration, profile: str = "quick", overrides: Mapping[str, Any] | None = None
) -> Plan:
    """Plan a run.

    A shared base runs in the same profile and with the same ``seed`` and ``seeds`` as its reader.

    Raises:
        ConfigError: unknown profile or field, or a value that is not allowed.
    """
    config = study.config.for_profile(profile, overrides)
    bases: dict[str, tuple[Declaration, StudyConfig]] = {}

    def collect(declaration: Declaration) -> None:
        for step in declaration.steps.values():
            for upstream in step.inputs.values():
                if upstream.study in (declaration.name, *bases):
                    continue
                base = upstream.owner
                assert isinstance(base, Declaration)
                seeds = {"seed": config.seed, "seeds": config.seeds}
                bases[base.name] = (base, base.config.for_profile(profile, seeds))
                collect(base)

    collect(study)
    return Plan(study, config, profile, bases)


def digest(parts: Mapping[str, Any]) -> str:
    """A key: the hash of canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def _plain(value: Any) -> Any:
    """JSON for the NumPy scalars and paths that a cell listed by a function may hold."""
    if hasattr(value, "item"):
        return value.item()
    return str(value)


def _aligned(values: Mapping[str, Any], upstream: list[Cell]) -> tuple[Cell, ...]:
    """The upstream cells that agree with ``values`` on every name that both have."""
    return tuple(
        cell
        for cell in upstream
        if all(values[name] == value for name, value in cell.values.items() if name in values)
    )
