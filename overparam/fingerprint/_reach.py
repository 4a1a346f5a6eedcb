"""Everything that a definition can reach."""

from collections.abc import Iterable

from overparam.fingerprint._changes import Changes
from overparam.fingerprint._errors import FingerprintError
from overparam.fingerprint._links import Links
from overparam.fingerprint._names import UnitId

_NOTHING: frozenset[UnitId] = frozenset()


class Reach:
    """One walk over the followed modules, after ``module`` has been imported.

    A definition reaches the definitions that it names, all of a class, all assignments to a
    constant, and the statements of imported modules that change an object it reaches
    (registrations). What else runs at import (``np.seterr(...)``) is reached by all who import the
    module, directly or not.
    """

    def __init__(self, links: Links, changes: Changes, module: str) -> None:
        self._links = links
        self._changes = changes
        self._names = links.names
        self._imported: set[str] = set()
        self._registrations: dict[UnitId, list[UnitId]] = {}
        self._registries: set[UnitId] = set()  # reached by one who may read what is registered
        self._seen: set[tuple[UnitId, frozenset[UnitId]]] = set()
        self._waiting: list[tuple[UnitId, frozenset[UnitId]]] = []
        self._import([module])

    def units(self, start: Iterable[UnitId]) -> set[UnitId]:
        """Return ``start`` and all units reached from there.

        Raises:
            FingerprintError: something reached names a study object.
        """
        self._waiting += [(unit, _NOTHING) for unit in start]
        while self._waiting:
            unit, muted = self._waiting.pop()
            if (unit, muted) not in self._seen and (unit, _NOTHING) not in self._seen:
                self._seen.add((unit, muted))
                self._visit(unit, muted)
        return {unit for unit, _ in self._seen}

    def _import(self, modules: list[str]) -> None:
        for module in self._names.imported_by(modules):
            if module in self._imported:
                continue
            self._imported.add(module)
            for number in range(len(self._names.summary(module).units)):
                unit = (module, number)
                objects, beyond = self._changes.touched(unit)
                if beyond:
                    self._waiting.append((unit, _NOTHING))
                for item in objects:
                    self._registrations.setdefault(item, []).append(unit)
                    if item in self._registries:
                        self._waiting.append((unit, _NOTHING))

    def _visit(self, identity: UnitId, muted: frozenset[UnitId]) -> None:
        unit = self._names.unit(identity)
        if unit.imports:
            self._import(unit.imports)
        self._follow(identity, self._links.named(identity), unit.code, muted)
        for decorator in unit.decorators:
            effects = decorator.effects
            if any(self._links.is_study_effect(identity[0], effect) for effect in effects):
                continue
            # Being registered does not make a definition depend on what else is registered.
            changed = {item for e in effects for item in self._changes.effect(identity[0], e)[0]}
            linked = self._links.links(identity, decorator.code)
            self._follow(identity, linked, decorator.code, muted | changed)
        if identity not in muted:
            self._registries.add(identity)
            self._waiting += [(item, _NOTHING) for item in self._registrations.get(identity, [])]

    def _follow(
        self,
        identity: UnitId,
        named: Iterable[tuple[str, UnitId]],
        lines: dict[str, int],
        muted: frozenset[UnitId],
    ) -> None:
        for reference, linked in named:
            if self._links.is_study(linked):
                file, line = self._names.file(identity[0]), lines[reference]
                label = self._names.unit(identity).label
                raise FingerprintError(
                    f"{file}:{line}: {label} uses the study object {reference!r}; a step may read "
                    "only its parameters and code that does not name the study"
                )
            self._waiting.append((linked, muted))
