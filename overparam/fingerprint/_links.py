"""From a definition to those that it names, and to the study that it belongs to."""

from collections.abc import Iterable, Iterator

from overparam.fingerprint._effects import Effect
from overparam.fingerprint._names import Names, Target, UnitId


class Links:
    """What units name, through the names of their modules."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._named: dict[UnitId, list[tuple[str, UnitId]]] = {}
        self._studies: dict[UnitId, bool] = {}

    def targets(self, module: str, references: Iterable[str]) -> Iterator[tuple[str, Target]]:
        """Yield all that references in a module stand for, each with the reference."""
        for reference in references:
            for target in self.names.resolve(module, reference):
                yield reference, target

    def links(self, identity: UnitId, references: Iterable[str]) -> Iterator[tuple[str, UnitId]]:
        """Yield the units that references stand for: all of a module that is used as a value."""
        for reference, target in self.targets(identity[0], references):
            if target.unit is not None:
                yield reference, target.unit
            elif target.kind == "module":
                for unit in self.whole(target.name):
                    yield reference, unit

    def named(self, identity: UnitId) -> list[tuple[str, UnitId]]:
        """List the units that a unit names, its decorators apart, each with the reference."""
        if identity not in self._named:
            self._named[identity] = list(self.links(identity, self.names.unit(identity).code))
        return self._named[identity]

    def whole(self, module: str) -> list[UnitId]:
        """List the units of a module, without its study and what that study decorates."""
        units = [(module, number) for number in range(len(self.names.summary(module).units))]
        return [
            unit for unit in units if not self.is_study(unit) and not self.belongs_to_study(unit)
        ]

    # studies -------------------------------------------------------------------------------------

    def is_study(self, identity: UnitId) -> bool:
        """Tell whether the unit is ``study = Study(...)``."""
        if identity not in self._studies:
            made_by = self.names.unit(identity).made_by
            names = [
                target.name for _, target in self.targets(identity[0], made_by) if not target.rest
            ]
            self._studies[identity] = any(
                name.replace(":", ".").split(".")[-1] == "Study" for name in names
            )
        return self._studies[identity]

    def belongs_to_study(self, identity: UnitId) -> bool:
        """Tell whether a study decorates the unit: a step, a claim, a figure."""
        decorators = self.names.unit(identity).decorators
        return any(
            self.is_study_effect(identity[0], effect) for d in decorators for effect in d.effects
        )

    def is_study_effect(self, module: str, effect: Effect) -> bool:
        """Tell whether the effect is a study's own: ``@study.train(...)``."""
        targets = self.targets(module, effect.references)
        return any(target.unit is not None and self.is_study(target.unit) for _, target in targets)

    def reached(self, identity: UnitId) -> set[UnitId]:
        """Return all units that can be reached by name, registrations apart."""
        found: set[UnitId] = set()
        waiting = [identity]
        while waiting:
            unit = waiting.pop()
            if unit not in found:
                found.add(unit)
                waiting += [linked for _, linked in self.named(unit)]
        return found
