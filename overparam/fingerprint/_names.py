"""From a name used in a file to the definition it stands for, through imports and re-exports."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from overparam.fingerprint._cache import SummaryCache
from overparam.fingerprint._summary import Summary, Unit

UnitId = tuple[str, int]  # module, position in the file


class Target(NamedTuple):
    """What a reference stands for.

    ``kind`` is ``unit``, ``module`` (a followed module used as a value), ``external`` (outside of
    the followed packages), ``missing`` (inside of them, but not there) or ``builtin``. ``name``
    is the dotted name, for a unit ``module:label``; ``rest`` are attributes left over after a
    unit.
    """

    kind: str
    name: str
    unit: UnitId | None = None
    rest: tuple[str, ...] = ()


class Names:
    """The followed modules and the names in them.

    Args:
        packages: importable name -> folder of a package, or a single file.
        cache: where summaries come from.

    Raises:
        ValueError: a path of ``packages`` does not exist.
    """

    def __init__(self, packages: Mapping[str, Path], cache: SummaryCache) -> None:
        self._packages = {name: Path(path) for name, path in packages.items()}
        for name, path in self._packages.items():
            if not path.exists():
                raise ValueError(
                    f"packages[{name!r}] = {str(path)!r} is neither a folder nor a file"
                )
        self._cache = cache
        self._files: dict[str, tuple[Path | None, bool] | None] = {}
        self._summaries: dict[str, Summary] = {}
        self._closures: dict[tuple[str, ...], list[str]] = {}
        self._resolved: dict[tuple[str, str], tuple[Target, ...]] = {}

    # modules -------------------------------------------------------------------------------------

    def follows(self, module: str) -> bool:
        """Tell whether ``module`` lies inside one of the followed packages (it need not exist)."""
        return self._owner(module) is not None

    def exists(self, module: str) -> bool:
        """Tell whether the followed packages hold ``module``."""
        return self._locate(module) is not None

    def file(self, module: str) -> Path | None:
        """Return a module's file; None for an unknown one or a folder without ``__init__.py``."""
        located = self._locate(module)
        return located[0] if located else None

    def _locate(self, module: str) -> tuple[Path | None, bool] | None:
        if module not in self._files:
            self._files[module] = self._find(module)
        return self._files[module]

    def _owner(self, module: str) -> str | None:
        """Return the innermost of the followed packages that ``module`` lies in."""
        while module not in self._packages:
            module, dot, _ = module.rpartition(".")
            if not dot:
                return None
        return module

    def _child(self, module: str, name: str) -> str | None:
        """Return the module ``name`` inside of a package, None if there is none."""
        located = self._locate(module)
        is_package = located is not None and located[1]
        return f"{module}.{name}" if is_package and self.exists(f"{module}.{name}") else None

    def _find(self, module: str) -> tuple[Path | None, bool] | None:
        owner = self._owner(module)
        if owner is None:
            return None
        base = str(self._packages[owner])
        inner = module[len(owner) + 1 :]
        if os.path.isfile(base):
            return (Path(base), False) if not inner else None
        stem = os.path.join(base, *inner.split(".")) if inner else base
        if os.path.isfile(initial := os.path.join(stem, "__init__.py")):
            return Path(initial), True
        if inner and os.path.isfile(f"{stem}.py"):
            return Path(f"{stem}.py"), False
        return (None, True) if os.path.isdir(stem) else None

    def summary(self, module: str) -> Summary:
        """Summarise an existing module (a folder without ``__init__.py`` is empty)."""
        if module not in self._summaries:
            located = self._locate(module)
            assert located is not None, module
            file, is_package = located
            package = module if is_package else module.rpartition(".")[0]
            self._summaries[module] = (
                Summary() if file is None else self._cache.summary(file, package)
            )
        return self._summaries[module]

    def unit(self, identity: UnitId) -> Unit:
        """Return a unit of an existing module."""
        return self.summary(identity[0]).units[identity[1]]

    # names ---------------------------------------------------------------------------------------

    def resolve(self, module: str, reference: str) -> tuple[Target, ...]:
        """Find what a reference in a module stands for; several if it is bound several times."""
        key = (module, reference)
        if key not in self._resolved:
            if reference.startswith("@"):
                origin, _, path = reference[1:].partition(":")
                found = self._attribute(origin, tuple(filter(None, path.split("."))), frozenset())
            else:
                head, *rest = reference.split(".")
                found = self._global(module, head, tuple(rest))
            self._resolved[key] = tuple(dict.fromkeys(found))
        return self._resolved[key]

    def _global(self, module: str, head: str, rest: tuple[str, ...]) -> list[Target]:
        found = self._bound(module, head, rest, frozenset())
        if not found and (child := self._child(module, head)):
            found = self._attribute(child, rest, frozenset())
        if not found:
            outside = [star for star in self.summary(module).stars if not self.follows(star)]
            found = [Target("external", ".".join([star, head, *rest])) for star in outside]
        return found or [Target("builtin", head)]

    def _attribute(
        self, module: str, path: tuple[str, ...], seen: frozenset[tuple[str, str]]
    ) -> list[Target]:
        dotted = ".".join([module, *path])
        if not self.follows(module):
            return [Target("external", dotted)]
        if not self.exists(module):
            return [Target("missing", dotted)]
        if not path or path[0] == "__dict__":
            return [Target("module", module)]
        found = self._bound(module, path[0], path[1:], seen)
        if not found and (child := self._child(module, path[0])):
            found = self._attribute(child, path[1:], seen)
        if not found:
            outside = [star for star in self.summary(module).stars if not self.follows(star)]
            found = [Target("external", ".".join([star, *path])) for star in outside]
        return found or [Target("missing", dotted)]

    def _bound(
        self,
        module: str,
        head: str,
        rest: tuple[str, ...],
        seen: frozenset[tuple[str, str]],
    ) -> list[Target]:
        """Follow the bindings of a name in a module; nothing if it has none (or imports itself)."""
        if (module, head) in seen:
            return []
        seen = seen | {(module, head)}
        summary = self.summary(module)
        found: list[Target] = []
        for binding in summary.bindings.get(head, []):
            if isinstance(binding, int):
                label = summary.units[binding].label
                found.append(Target("unit", f"{module}:{label}", (module, binding), rest))
            else:
                origin, attribute = binding
                if (origin, attribute) == (
                    module,
                    head,
                ):  # `from . import child` in the package itself
                    continue
                found += self._attribute(origin, (*filter(None, [attribute]), *rest), seen)
        for star in summary.stars:
            if self.exists(star) and self._exports(star, head):
                found += self._bound(star, head, rest, seen)
                if not found and (child := self._child(star, head)):
                    found = self._attribute(child, rest, seen)
        return found

    def _exports(self, module: str, name: str) -> bool:
        summary = self.summary(module)
        if summary.exports_unknown:
            return True
        return not name.startswith("_") if summary.exported is None else name in summary.exported

    # imports -------------------------------------------------------------------------------------

    def imported_by(self, modules: list[str]) -> list[str]:
        """List every followed module that runs when ``modules`` are imported, in a fixed order.

        Parents of a module run too. Imports inside functions are not part of it.
        """
        key = tuple(modules)
        if key not in self._closures:
            self._closures[key] = self._closure(modules)
        return self._closures[key]

    def _closure(self, modules: list[str]) -> list[str]:
        closure: dict[str, None] = {}
        waiting = list(modules)
        while waiting:
            module = waiting.pop()
            if module in closure or not self.exists(module):
                continue
            closure[module] = None
            parts = module.split(".")
            waiting += [".".join(parts[:end]) for end in range(1, len(parts))]
            summary = self.summary(module)
            waiting += summary.imports + summary.stars
        return list(closure)
