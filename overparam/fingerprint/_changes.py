"""Which objects a statement changes when its module is imported: whose registrations count."""

from overparam.fingerprint._effects import Effect
from overparam.fingerprint._links import Links
from overparam.fingerprint._methods import READING_METHODS, changes_container
from overparam.fingerprint._names import Target, UnitId

# Decorators from outside that register nothing: whatever lies below these names.
_PURE_DECORATORS = (
    "abc", "attr", "attrs", "beartype", "contextlib", "dataclasses", "enum", "functools",
    "jaxtyping", "numba", "numpy", "pydantic", "torch.autograd", "torch.compile", "torch.compiler",
    "torch.enable_grad", "torch.func", "torch.inference_mode", "torch.jit", "torch.no_grad",
    "torch.set_grad_enabled", "torch.vmap", "typing", "typing_extensions", "warnings",
)  # fmt: skip


class Changes:
    """Changes to module-level objects at import, by units of the followed modules."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._names = links.names
        self._mutated: dict[UnitId, frozenset[UnitId]] = {}
        self._touched: dict[UnitId, tuple[frozenset[UnitId], bool]] = {}

    def touched(self, identity: UnitId) -> tuple[frozenset[UnitId], bool]:
        """Return the objects that the unit changes at import, and whether it acts beyond them."""
        if identity not in self._touched:
            unit = self._names.unit(identity)
            objects: set[UnitId] = set()
            beyond = False
            decorating = [effect for d in unit.decorators for effect in d.effects]
            for effect in [*unit.effects, *decorating]:
                changed, acts = self.effect(identity[0], effect)
                objects |= changed
                beyond |= acts
            if unit.kind == "class":
                objects |= self._hooked(identity)
            self._touched[identity] = (frozenset(objects - {identity}), beyond)
        return self._touched[identity]

    def effect(self, module: str, effect: Effect) -> tuple[set[UnitId], bool]:
        """Return the objects that one effect changes, and whether it acts beyond them."""
        if self._links.is_study_effect(module, effect):
            return set(), False
        objects: set[UnitId] = set()
        if effect.kind in ("call", "decorator"):
            objects |= self._handed(module, effect, through_functions=False)
        beyond = effect.kind in ("call", "mutate") and not effect.references
        for _, target in self._links.targets(module, effect.references):
            if target.unit is not None:
                objects |= self._changed_by(target, effect)
                beyond |= effect.kind == "call" and not objects
            elif target.kind == "builtin":
                if effect.kind == "call":
                    objects |= self._handed(module, effect, through_functions=True)
            elif effect.kind == "decorator":
                beyond |= target.kind == "external" and not _is_pure(target.name)
            else:
                beyond |= effect.kind in ("call", "mutate")
        return objects, beyond

    def _changed_by(self, target: Target, effect: Effect) -> set[UnitId]:
        assert target.unit is not None
        kind = self._names.unit(target.unit).kind
        if effect.kind == "mutate":
            return {target.unit}
        if kind in ("value", "block"):
            if effect.kind == "value" and not self._may_change(target):
                return set()
            return self._aliases(target.unit)
        changed = set(self.mutated(target.unit))
        if kind == "class":
            certain = effect.kind == "decorator" or (target.rest and effect.kind == "call")
            if certain or self._may_change(target):
                changed.add(target.unit)
        elif target.rest:  # `dispatching.register(...)`
            changed.add(target.unit)
        if effect.after_call:
            changed |= {
                unit for unit in self._links.reached(target.unit) if self._is_container(unit)
            }
        return changed

    def _aliases(self, identity: UnitId) -> set[UnitId]:
        """The object and those that its assignment names: ``register = REGISTRY.register``."""
        found: set[UnitId] = set()
        waiting = [identity]
        while waiting:
            unit = waiting.pop()
            if unit in found:
                continue
            if self._names.unit(unit).kind == "function":
                found |= self.mutated(unit)
            if not self._is_container(unit):
                continue
            found.add(unit)
            if self._names.unit(unit).kind != "class":
                waiting += [linked for _, linked in self._links.named(unit)]
        return found

    def _handed(self, module: str, effect: Effect, *, through_functions: bool) -> set[UnitId]:
        objects: set[UnitId] = set()
        for _, target in self._links.targets(module, effect.arguments):
            if target.unit is None:
                continue
            kind = self._names.unit(target.unit).kind
            if kind in ("value", "block"):
                objects |= self._aliases(target.unit) if self._is_container(target.unit) else set()
            elif through_functions:
                objects |= self.mutated(target.unit)
                objects |= {target.unit} if target.rest or kind == "class" else set()
        return objects

    def _is_container(self, identity: UnitId) -> bool:
        unit = self._names.unit(identity)
        if unit.kind == "function" or unit.fixed or self._links.is_study(identity):
            return False
        return not any(
            t.name == "logging.getLogger" for _, t in self._links.targets(identity[0], unit.made_by)
        )

    def _may_change(self, target: Target) -> bool:
        """Tell whether calling an object, or the method ``target.rest`` of it, may change it."""
        assert target.unit is not None
        made_by = self._names.unit(target.unit).made_by
        if any(maker.unit is not None for _, maker in self._links.targets(target.unit[0], made_by)):
            return not target.rest or target.rest[-1] not in READING_METHODS
        class_state = self._names.unit(target.unit).class_state
        return bool(target.rest) and (class_state or changes_container(target.rest[-1]))

    def _hooked(self, identity: UnitId) -> set[UnitId]:
        """The bases and metaclasses whose code runs when the class is defined."""
        objects: set[UnitId] = set()
        waiting, seen = [identity], {identity}
        while waiting:
            current = waiting.pop()
            unit = self._names.unit(current)
            for _, meta in self._links.links(current, unit.metaclass):
                objects |= {meta} | self.mutated(meta)
            for _, base in self._links.links(current, unit.bases):
                if self._names.unit(base).subclass_hook:
                    objects |= {base} | self.mutated(base)
                if base not in seen:
                    seen.add(base)
                    waiting.append(base)
        return objects

    def mutated(self, identity: UnitId) -> frozenset[UnitId]:
        """Return the module-level objects that calling a function or class may change."""
        if identity not in self._mutated:
            objects: set[UnitId] = set()
            for current in self._links.reached(identity):
                unit = self._names.unit(current)
                if unit.kind not in ("function", "class"):
                    continue
                for reference, needs_rest in unit.mutates:
                    for _, target in self._links.targets(current[0], [reference]):
                        if target.unit is None or not self._is_container(target.unit):
                            continue
                        if not needs_rest or (target.rest and self._may_change(target)):
                            objects.add(target.unit)
                for callee, argument in unit.passes:
                    if any(target.unit for _, target in self._links.targets(current[0], [callee])):
                        for _, target in self._links.targets(current[0], [argument]):
                            if target.unit and self._names.unit(target.unit).kind in (
                                "value",
                                "block",
                            ):
                                objects |= (
                                    {target.unit} if self._is_container(target.unit) else set()
                                )
            self._mutated[identity] = frozenset(objects)
        return self._mutated[identity]


def _is_pure(name: str) -> bool:
    return any(name == pure or name.startswith(f"{pure}.") for pure in _PURE_DECORATORS)
