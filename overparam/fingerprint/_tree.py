"""Fingerprints: hashes of all the code that a function reaches."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from overparam.fingerprint._cache import SummaryCache, default_cache_folder
from overparam.fingerprint._changes import Changes
from overparam.fingerprint._errors import FingerprintError
from overparam.fingerprint._links import Links
from overparam.fingerprint._names import Names, UnitId
from overparam.fingerprint._reach import Reach


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The code that a function reaches.

    Attributes:
        digest: 64 hex digits over all of ``parts``.
        parts: ``"module:name"`` (``"module:<top>"`` for what runs when the module is imported) ->
            16 hex digits.
    """

    digest: str
    parts: Mapping[str, str]


class SourceTree:
    """The source of some packages, as it was when first read; a changed file needs a new tree.

    Nothing is imported or run. Definitions are hashed by their printed syntax tree, without
    docstrings, comments and layout; their order does not count. Names are followed, values are not:
    a method called on a value counts because the value's class is named where it is made. Not
    followed: what lies outside of ``packages`` (its dotted names count), files that are no Python,
    annotations of functions (they count as text, and by which definition they name).

    Args:
        packages: importable name -> folder of a package or a single file:
            ``{"overparam": Path(".../overparam"), "my_study": Path(".../my_study.py")}``.
        cache: folder for summaries of files, ``"default"`` for :func:`default_cache_folder`, None
            to keep none.

    Raises:
        ValueError: a path of ``packages`` does not exist.
    """

    def __init__(
        self,
        packages: Mapping[str, Path],
        *,
        cache: Path | Literal["default"] | None = "default",
    ) -> None:
        folder = default_cache_folder() if cache == "default" else cache
        self._names = Names(packages, SummaryCache(folder))
        self._links = Links(self._names)
        self._changes = Changes(self._links)
        self._fingerprints: dict[tuple[str, str], Fingerprint] = {}
        self._hashes: dict[UnitId, str] = {}

    def fingerprint(self, module: str, qualname: str) -> Fingerprint:
        """Fingerprint a function, class or constant of a module (or one that it imports).

        Decorators of a study (``@study.train(...)``) do not count. ``Class.method`` counts as all
        of ``Class``.

        Raises:
            FingerprintError: no such module or name, a file that is not Python, or code that
                names a study object; the message gives file and line.
        """
        key = (module, qualname)
        if key not in self._fingerprints:
            self._need(module)
            name = qualname.partition(".")[0]
            start = [t.unit for t in self._names.resolve(module, name) if t.unit is not None]
            if not start:
                raise FingerprintError(
                    f"{self._names.file(module)}: defines no {name!r} at its top level"
                )
            self._fingerprints[key] = self._combine(module, start)
        return self._fingerprints[key]

    def fingerprint_source(self, module: str) -> Fingerprint:
        """Fingerprint all that a module defines and reaches, its study apart.

        Raises:
            FingerprintError: as for :meth:`fingerprint`.
        """
        self._need(module)
        return self._combine(module, self._links.whole(module))

    def _need(self, module: str) -> None:
        if not self._names.exists(module):
            raise FingerprintError(f"module {module!r} is not in the followed packages")

    def _combine(self, module: str, start: Iterable[UnitId]) -> Fingerprint:
        units = Reach(self._links, self._changes, module).units(start)
        grouped: dict[str, list[str]] = {}
        for unit in sorted(units):
            label = f"{unit[0]}:{self._names.unit(unit).label}"
            grouped.setdefault(label, []).append(self._hash(unit))
        parts = {label: _digest(grouped[label])[:16] for label in sorted(grouped)}
        return Fingerprint(_digest(parts), parts)

    def _hash(self, identity: UnitId) -> str:
        """Hash a unit: its text, and what each name in it stands for (imports may change that)."""
        if identity not in self._hashes:
            unit = self._names.unit(identity)
            decorators = [
                [decorator.hash, self._meanings(identity, decorator.code)]
                for decorator in unit.decorators
                if not any(self._links.is_study_effect(identity[0], e) for e in decorator.effects)
            ]
            names = self._meanings(identity, {**unit.notes, **unit.code})
            self._hashes[identity] = _digest([unit.hash, names, decorators])
        return self._hashes[identity]

    def _meanings(self, identity: UnitId, references: Iterable[str]) -> list[list[str]]:
        targets = self._links.targets(identity[0], sorted(references))
        return [[reference, target.kind, target.name] for reference, target in targets]


def changed_parts(
    old: Mapping[str, str], new: Mapping[str, str]
) -> list[tuple[str, str | None, str | None]]:
    """List the parts in which two fingerprints differ: ``(part, old, new)``, None where absent.

    >>> changed_parts({"m:f": "1", "m:g": "2"}, {"m:f": "1", "m:h": "3"})
    [('m:g', '2', None), ('m:h', None, '3')]
    """
    names = sorted(old.keys() | new.keys())
    return [
        (name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)
    ]


def _digest(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
