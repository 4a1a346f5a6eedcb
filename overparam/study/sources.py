"""Config values that name something outside: files and factories, counted by content, not by name.

A :data:`DataFile` or :data:`Weights` value is a path, or ``package:NAME/path/inside`` for a file
that ships inside an installed package (written :func:`PackageFile`). A :data:`Factory` value is
``path/to/file.py:callable`` or ``package.module:callable``. Each is checked when the config is
made, and its *content* (bytes, source) enters the cache key: replacing a file changes the key,
moving or touching it does not.
"""

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from overparam.fingerprint import SourceTree

PACKAGE_SCHEME = "package:"

PRIVATE_PREFIX = "_overparam_user_"
"""Begins the private name under which a user's file is loaded; the name also holds its content."""


def PackageFile(package: str, path: str) -> str:
    """Name the file ``path`` inside the installed ``package`` (checked when the config is made)."""
    return f"{PACKAGE_SCHEME}{package}/{path}"


def resolve_file(value: str) -> Path:
    """Return the path that a ``DataFile`` or ``Weights`` value means.

    Raises:
        ValueError: the package is not installed, or there is no such file.
    """
    if value.startswith(PACKAGE_SCHEME):
        package, _, inside = value.removeprefix(PACKAGE_SCHEME).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        folders = list(spec.submodule_search_locations or []) if spec else []
        if not folders:
            raise ValueError(f"{value!r} needs the package {package}: pip install {package}")
        path = Path(folders[0]) / inside
        if not path.resolve().is_relative_to(Path(folders[0]).resolve()):
            raise ValueError(f"{value!r} leaves the folder of the package {package}")
    else:
        try:
            path = Path(value).expanduser()
        except RuntimeError as error:  # ~nobody
            raise ValueError(f"{value!r}: {error}") from error
    if not path.is_file():
        raise ValueError(f"there is no file {value!r} (looked at {path.absolute()})")
    return path


def _existing_file(value: str) -> str:
    resolve_file(value)
    return value


@dataclass(frozen=True)
class FileContent:
    """Marks a config field that counts by the bytes (and the suffix) of the file it names."""

    def digest(self, value: str) -> str:
        path = resolve_file(value)
        with path.open("rb") as stream:
            return f"{path.suffix}:{hashlib.file_digest(stream, 'sha256').hexdigest()}"

    def step_value(self, value: str) -> Path:
        return resolve_file(value)


def split_factory(value: str) -> tuple[str, str]:
    """Split ``file.py:callable`` or ``package.module:callable``.

    Raises:
        ValueError: not of that form, or the file or module does not exist.
    """
    place, colon, name = value.rpartition(":")
    if not (colon and place and name.replace(".", "_").isidentifier()):
        raise ValueError(
            f"{value!r} is not of the form path/to/file.py:callable or package.module:callable"
        )
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise ValueError(f"there is no file {place!r} (looked at {Path(place).absolute()})")
    elif not all(part.isidentifier() for part in place.split(".")):
        raise ValueError(f"{place!r} is neither a .py file nor a module name")
    return place, name


def _factory(value: str) -> str:
    split_factory(value)
    return value


def _neighbours(folder: Path) -> Iterator[tuple[str, Path]]:
    """What a file can import from beside itself: modules and packages of its folder."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py" and path.stem.isidentifier():
            yield path.stem, path
        elif (path / "__init__.py").is_file():
            yield path.name, path


def code_name(module: str, file: Path) -> str:
    """The name under which fingerprints know a module: for a user's lone file, the file's own."""
    return file.stem if module.startswith(PRIVATE_PREFIX) else module


def source_tree(module: str, file: Path) -> SourceTree:
    """The code that the module ``module`` in ``file`` can reach: ``overparam`` and its own package.

    A module of a package brings that whole package; a lone file brings what lies beside it.
    """
    packages = {"overparam": Path(__file__).resolve().parent.parent}
    top = module.partition(".")[0]
    if "." in module and top != "overparam":
        depth = module.count(".") - (file.name != "__init__.py")
        packages[top] = file.resolve().parents[depth]
    elif top != "overparam":
        beside = dict(_neighbours(file.resolve().parent))
        packages = beside | packages | {code_name(module, file): file.resolve()}
    return SourceTree(packages)


@dataclass(frozen=True)
class FactorySource:
    """Marks a config field that counts by the source that the named callable reaches."""

    def digest(self, value: str) -> str:
        place, name = split_factory(value)
        if place.endswith(".py"):
            file = Path(place)
            return source_tree(file.stem, file).fingerprint(file.stem, name).digest
        spec = importlib.util.find_spec(place)
        if spec is None or spec.origin is None:
            raise ValueError(f"there is no module {place!r}")
        return source_tree(place, Path(spec.origin)).fingerprint(place, name).digest

    def step_value(self, value: str) -> str:
        return value


DataFile = Annotated[str, AfterValidator(_existing_file), FileContent()]
"""A config field that names a data file: its bytes count, its path does not."""

Weights = Annotated[str, AfterValidator(_existing_file), FileContent()]
"""A config field that names a file of weights: its bytes count, its path does not."""

Factory = Annotated[str, AfterValidator(_factory), FactorySource()]
"""A config field that names a callable: the source it reaches counts, its place does not."""
