"""The catalogue: which studies there are, read from the syntax tree without importing any.

Studies are found in ``overparam/studies/THEME/*.py`` and through the entry-point group
``overparam.studies`` (value ``package.module:study``) of other installed packages.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, entry_points, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overparam.errors import DeclarationError, MissingExtra, UnknownStudyError
from overparam.studies.declaration import declared

if TYPE_CHECKING:
    from overparam.study import Study

ENTRY_POINT_GROUP = "overparam.studies"


@dataclass(frozen=True)
class Entry:
    """What the catalogue knows of a study without importing it."""

    study: str
    theme: str
    module: str
    file: Path
    question: str
    paper: dict[str, Any]
    profiles: tuple[str, ...]
    extras: tuple[str, ...]
    claims: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The extras it needs that are not installed."""
        return tuple(extra for extra in self.extras if not _extra_installed(extra))

    @property
    def available(self) -> bool:
        """Whether everything that it needs is installed."""
        return not self.missing

    @property
    def install_line(self) -> str:
        """How to install what is missing."""
        return f"pip install 'overparam[{','.join(self.missing)}]'"


@lru_cache
def entries() -> tuple[Entry, ...]:
    """All studies, by theme and name.

    Raises:
        DeclarationError: two studies have one name, or a file does not parse.
    """
    found = sorted(_found(), key=lambda entry: (entry.theme, entry.study))
    names: dict[str, Path] = {}
    for entry in found:
        if entry.study in names:
            raise DeclarationError(
                f"study {entry.study!r} is declared in {names[entry.study]} and in {entry.file}"
            )
        names[entry.study] = entry.file
    return tuple(found)


def find(name: str) -> Entry:
    """The entry of a study, by name or by the path of a file that declares one.

    Raises:
        UnknownStudyError: there is none; the nearest names are given.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise UnknownStudyError(
                f"there is no study file {name!r} (looked at {path.absolute()})"
            )
        entry = read_entry(path, str(path))
        if entry is None:
            raise UnknownStudyError(f"{name} declares no Study(...)")
        return entry
    for entry in entries():
        if entry.study == name:
            return entry
    names = [entry.study for entry in entries()]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"studies: {', '.join(names)}"
    raise UnknownStudyError(f"unknown study {name!r}; {hint}")


def load(name: str) -> "Study":
    """Import a study by name or file and return it.

    Raises:
        UnknownStudyError: there is none of that name.
        MissingExtra: an extra that it needs is not installed (with the pip line).
    """
    entry = find(name)
    if not entry.available:
        raise MissingExtra(f"study {entry.study!r} needs an extra: {entry.install_line}")
    return load_from(entry.module, entry.study)


def load_from(module: str, name: str) -> "Study":
    """Import the module (or load the file) in which the study ``name`` is declared.

    Raises:
        DeclarationError: it has no such study at its top level.
    """
    from overparam.study import Study
    from overparam.study.loading import load_module

    for value in vars(load_module(module)).values():
        if isinstance(value, Study) and value.name == name:
            return value
    raise DeclarationError(f"{module} has no study {name!r} at its top level")


def read_entry(file: Path, module: str) -> Entry | None:
    """The entry of the study that a file declares, None if it declares none.

    Raises:
        DeclarationError: the file does not parse, or a literal is not one.
    """
    found = declared(file)
    if found is None:
        return None
    several = {name: tuple(found[name]) for name in ("profiles", "extras", "claims")}
    return Entry(module=module, file=file, **{**found, **several})


def _found() -> Iterator[Entry]:
    root = Path(__file__).parent
    for file in sorted(root.glob("*/*.py")):
        if not file.name.startswith("_"):
            entry = read_entry(file, f"overparam.studies.{file.parent.name}.{file.stem}")
            if entry is not None:
                yield entry
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            spec = find_spec(point.module)
        except ModuleNotFoundError:
            spec = None
        if spec is None or spec.origin is None:
            raise DeclarationError(f"entry point {point.name!r}: there is no module {point.module}")
        entry = read_entry(Path(spec.origin), point.module)
        if entry is None:
            raise DeclarationError(f"entry point {point.name!r}: {spec.origin} declares no Study")
        yield entry


def _extra_installed(extra: str) -> bool:
    from packaging.requirements import Requirement

    if extra not in (metadata("overparam").get_all("Provides-Extra") or ()):
        return False
    for line in requires("overparam") or ():
        requirement = Requirement(line)
        if requirement.marker and requirement.marker.evaluate({"extra": extra}):
            if requirement.marker.evaluate({"extra": ""}):
                continue
            try:
                version(requirement.name)
            except PackageNotFoundError:
                return False
    return True
