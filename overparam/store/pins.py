"""Pins: artifacts that cleaning leaves alone, because a run reads them or a page links to them."""

import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from upath import UPath

from overparam.store.files import entry_names, put
from overparam.store.names import ArtifactRef, StoreNameError
from overparam.store.store import Store

LONGEST_RUN = timedelta(days=7)
"""A run of another machine counts as going on for so long after its start."""


_NO_PIN = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    FileNotFoundError,
    IsADirectoryError,
    StoreNameError,
)


@contextmanager
def pinned_by_run(store: Store, refs: Iterable[ArtifactRef]) -> Iterator[None]:
    """Pin what a run reads and writes, for as long as this process is at it."""
    pin = store.root / "pins" / f"run-{os.getpid()}-{secrets.token_hex(4)}.json"
    holder: dict[str, str | int] = {"host": socket.gethostname(), "pid": os.getpid()}
    put(pin, _text(refs, holder))
    try:
        yield
    finally:
        with suppress(OSError):  # read-only by now, say: the pin of an ended process pins nothing
            pin.unlink(missing_ok=True)


def pin_for_page(store: Store, page: UPath, refs: Iterable[ArtifactRef]) -> None:
    """Pin what a page links to, for as long as the page exists."""
    name = f"page-{page.parent.name}-{page.stem}.json"
    put(store.root / "pins" / name, _text(refs, {"page": str(page)}))


def pinned(store: Store) -> set[ArtifactRef]:
    """The artifacts that a run under way or an existing page needs.

    A pin whose file is not one (cut short, not ours) pins nothing.
    """
    found: set[ArtifactRef] = set()
    folder = store.root / "pins"
    for name in entry_names(folder):
        with suppress(*_NO_PIN):
            pin = json.loads((folder / name).read_bytes())
            if _holds(store, pin):
                found |= {ArtifactRef(*ref.split("/")) for ref in pin["refs"]}
    return found


def released(store: Store) -> Iterator[UPath]:
    """The pins that runs left which were killed: they pin nothing."""
    folder = store.root / "pins"
    for name in entry_names(folder):
        if name.startswith("run-"):
            with suppress(*_NO_PIN):
                if not _holds(store, json.loads((folder / name).read_bytes())):
                    yield folder / name


def _text(refs: Iterable[ArtifactRef], holder: dict[str, str | int]) -> bytes:
    made = datetime.now(UTC).isoformat()
    return json.dumps({**holder, "made": made, "refs": sorted(map(str, refs))}).encode()


def _holds(store: Store, pin: dict[str, str]) -> bool:
    if "page" in pin:
        # a page of this store: another address would be looked up, wherever it leads
        return pin["page"].startswith(str(store.reports)) and UPath(pin["page"]).exists()
    if pin["host"] == socket.gethostname():
        return _alive(int(pin["pid"]))
    return datetime.now(UTC) - datetime.fromisoformat(pin["made"]) < LONGEST_RUN


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
