"""Where the store is."""

import os
import tomllib
from pathlib import Path

from upath import UPath

from overparam.store.errors import StoreError

VARIABLE = "OVERPARAM_STORE"


def locate(root: str | os.PathLike[str] | UPath | None) -> UPath:
    """The store's root.

    That is `root`, else `$OVERPARAM_STORE`, else `data/` of the checkout around the current
    folder, else the user's data folder.


    Any fsspec address will do (`memory://x`, `s3://bucket/x`); a path on this machine is made
    absolute.

    Raises:
        StoreError: an empty address, an unknown protocol, a backend that isn't installed (with the
            pip line), or a root that is a file.
    """
    if root is None:
        root = os.environ.get(VARIABLE) or _default()
    if not str(root).strip() or "\0" in str(root):
        raise StoreError(
            f"store address {str(root)!r}: give a folder or an fsspec address such as "
            f"s3://bucket/folder"
        )
    try:
        path = UPath(root)
        protocol = path.protocol
        if protocol in ("", "file", "local"):
            path = UPath(os.path.abspath(os.path.expanduser(path.path)))
        else:
            _ = path.fs
    except ImportError as error:
        raise StoreError(
            f"store {root}: {error}. {_pip_line(str(root).partition(':')[0])}"
        ) from error
    except ValueError as error:
        raise StoreError(
            f"store {root}: {error}. Give a folder, or an address whose protocol fsspec knows "
            f"(s3://, gs://, memory://)"
        ) from error
    if _is_file(path):
        raise StoreError(f"store {path} is a file. Give a folder, with --store or ${VARIABLE}")
    return path


def _default() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        try:
            project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
            if project["name"] == "overparam":
                return folder / "data"
        except (OSError, ValueError, KeyError, TypeError):
            continue
    from platformdirs import user_data_path

    return user_data_path("overparam")


def _pip_line(protocol: str) -> str:
    from fsspec.registry import known_implementations

    if protocol == "s3":
        return "pip install 'overparam[s3]'"
    package = known_implementations.get(protocol, {}).get("class", protocol).partition(".")[0]
    return f"pip install {package}"


def _is_file(path: UPath) -> bool:
    # an object store has no folders: only a disk can have a file in the way, here or above
    if not isinstance(path, Path):
        return False
    return any(place.is_file() for place in (path, *path.parents))
