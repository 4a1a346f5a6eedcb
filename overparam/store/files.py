"""Files that appear whole or not at all, on a disk and on an object store."""

import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from upath import UPath

from overparam.store._points import reached
from overparam.store.errors import StoreError

CHUNK = 1 << 20
TEMPORARY = ".tmp"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def is_local(path: UPath) -> bool:
    """Whether `path` is on this machine, where a rename is atomic and fsync means something."""
    return isinstance(path, Path)


def is_link(path: UPath) -> bool:
    """Whether `path` is a symbolic link, whose target is not ours to move or to remove."""
    return is_local(path) and os.path.islink(str(path))


@contextmanager
def storage_errors(path: UPath, done: str = "written to") -> Iterator[None]:
    """Turn the system's refusals into a `StoreError` that says what to do; other errors pass.

    Args:
        path: the place, for the message.
        done: what can't be done to it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreError(
                f"{path}: no space left ({error.strerror}). Free some (`overparam clean`) or use "
                f"another --store"
            ) from error
        if error.errno in _FORBIDDEN:
            raise StoreError(
                f"{path} can't be {done}: {error.strerror}. Change its permissions or use another "
                f"--store"
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StoreError(
                f"{path}: a file is where a folder should be. Move it or use another --store"
            ) from error
        raise


def make_folder(folder: UPath) -> None:
    """Create `folder` and what is missing above it, durably. Object stores have no folders."""
    if not is_local(folder):
        return
    missing = [place for place in (folder, *folder.parents) if not place.is_dir()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        sync(place.parent)


def sync(path: UPath | Path) -> None:
    """Make a local file, or the names in a local folder, durable."""
    if path.is_dir() and os.name != "posix":
        return  # only POSIX can open a folder to sync it
    descriptor = os.open(str(path), os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_temporary(folder: UPath, stem: str) -> tuple[Path, BinaryIO]:
    name = f".{stem}-{secrets.token_hex(8)}{TEMPORARY}"
    if not is_local(folder):
        path = Path(tempfile.gettempdir()) / f"overparam{name}"
        return path, path.open("xb")
    for _ in range(100):
        make_folder(folder)
        path = Path(str(folder)) / name
        try:
            return path, path.open("xb")
        except FileNotFoundError:  # a cleaner took the empty folder between the two lines above
            continue
    raise StoreError(
        f"{folder}: the folder keeps disappearing while it is written to. Is a cleaner running?"
    )


class Draft:
    """A file under construction, to be written at `path`; `commit` makes it visible.

    On an object store `path` is a local file that is put there in one request.

    Attributes:
        path: where to write, an empty local file.
        sha256: of the content, after `finish`.
        bytes: how many there are, after `finish`.
    """

    def __init__(self, folder: UPath, stem: str) -> None:
        self._folder = folder
        self.sha256 = ""
        self.bytes = 0
        with storage_errors(folder):
            self.path, file = _open_temporary(folder, stem)
            file.close()
        reached("open")

    def finish(self) -> None:
        """Take the content's hash and size, now that all of it is written."""
        with self.path.open("rb", buffering=0) as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self.bytes = file.tell()

    def commit(self, name: str) -> UPath:
        """Make the file durable and visible as `name` in its folder."""
        target = self._folder / name
        with storage_errors(target):
            reached("table-before-fsync")
            if is_local(self._folder):
                sync(self.path)
            reached("table-after-fsync")
            if is_local(self._folder):
                os.replace(self.path, str(target))
            else:
                target.fs.put_file(str(self.path), target.path)
        return target

    def discard(self) -> None:
        """Remove what was written and not made visible."""
        self.path.unlink(missing_ok=True)


def put(path: UPath, data: bytes) -> None:
    """Make `data` the content of `path`: atomically on a disk, in one request elsewhere.

    Kill points: `STEM-before` and `STEM-after`, STEM being the file's name without its suffix.
    """
    with storage_errors(path):
        if not is_local(path):
            reached(f"{path.stem}-before")
            path.fs.pipe_file(path.path, data)
            reached(f"{path.stem}-after")
            return
        temporary, file = _open_temporary(path.parent, path.stem)
        try:
            with file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            reached(f"{path.stem}-before")
            os.replace(temporary, str(path))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        reached(f"{path.stem}-after")
        sync(path.parent)


def file_size(path: UPath) -> int | None:
    """Size of a file; None if there is none, or a link or a folder in its place."""
    try:
        if is_local(path):
            status = os.lstat(str(path))
            return status.st_size if stat.S_ISREG(status.st_mode) else None
        entry = path.fs.info(path.path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int(entry["size"]) if entry["type"] == "file" else None


def entry_names(folder: UPath) -> list[str]:
    """Names of what is right in `folder`, sorted; empty if there is no such folder."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def move(source: UPath, target: UPath) -> None:
    """Move one file; copy and delete where there is no rename."""
    with storage_errors(target):
        if is_local(source):
            make_folder(target.parent)
            os.replace(str(source), str(target))
        else:
            source.fs.cp_file(source.path, target.path)
            source.fs.rm_file(source.path)
