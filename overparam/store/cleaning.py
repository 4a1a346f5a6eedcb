"""What can be removed from a store: planned first, so that a user sees it, applied afterwards."""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from upath import UPath

from overparam.store.files import TEMPORARY, entry_names, is_link, is_local
from overparam.store.manifest import MANIFEST, Manifest
from overparam.store.names import ArtifactRef, check_name
from overparam.store.pins import released
from overparam.store.store import Store

# A file that no manifest names may be a writer's that is still at work.
YOUNG = timedelta(hours=1)

_UNFINISHED = "never finished"


@dataclass(frozen=True)
class Removal:
    """One thing to remove: an artifact's folder, or a file or folder that belongs to none.

    Attributes:
        path: what is removed, with everything in it.
        bytes: how much that is.
        why: for people.
    """

    path: UPath
    bytes: int
    why: str


def plan_clean(
    store: Store,
    *,
    study: str | None = None,
    older_than: timedelta | None = None,
    superseded: bool = False,
    orphans: bool = True,
    protected: Collection[ArtifactRef] = frozenset(),
) -> list[Removal]:
    """What a cleaning would remove.

    Artifacts are candidates only if `study`, `older_than` or `superseded` is given; those go that
    fulfil every one that is. Files that no manifest names go with `orphans` once they are older
    than `older_than` (an hour, if that is not given). What was set aside and checkpoints go by age
    alone.

    Args:
        store: to be cleaned.
        study: only what belongs to this one.
        older_than: only what was written longer ago.
        superseded: only artifacts of which the same step and cell has a newer one.
        orphans: files without a manifest too, and what killed runs left elsewhere.
        protected: artifacts that stay, whatever else is said: those that a running flow reads or a
            report links to.

    Symbolic links, and what they lead to, are left alone.

    Raises:
        StoreNameError: `study` can't be a study's name.
    """
    if study is not None:
        check_name("study", study)
    now = datetime.now(UTC)
    removals = []
    if study is not None or older_than is not None or superseded:
        removals += list(_artifacts(store, study, older_than, superseded, protected, now))
    if orphans:
        taken = {removal.path for removal in removals}
        age = YOUNG if older_than is None else older_than
        for folder in _folders(store.artifacts, study, depth=3):
            if folder not in taken:
                removals += list(_orphans(folder, now - age))
        if study is None:
            removals += list(_left_by_killed_runs(store, now - age))
    if older_than is not None:
        kept = [(store.root / "quarantine", 3, "set aside as damaged")]
        if study is None:
            kept.append((store.root / "scratch", 1, "checkpoint of a step that never finished"))
        for top, depth, why in kept:
            for folder in _folders(top, study, depth):
                files = list(_files(folder))
                if files and max(_modified(file) for file in files) < now - older_than:
                    removals.append(Removal(folder, _size(folder), why))
    return removals


def apply_clean(removals: Sequence[Removal]) -> int:
    """Remove what was planned; returns the bytes removed.

    What is gone already is no error, and a file that a manifest has come to name since then stays.

    A manifest goes before the tables that it names: whoever kills a cleaning leaves orphans, not
    damage.
    """
    freed = 0
    for removal in removals:
        if not removal.path.is_dir():
            if removal.path.name in _named(removal.path.parent):
                continue
            removal.path.unlink(missing_ok=True)
        else:
            for file in sorted(_files(removal.path), key=lambda file: file.name != MANIFEST):
                file.unlink(missing_ok=True)
            _remove_empty(removal.path)
        freed += removal.bytes
    return freed


def _artifacts(
    store: Store,
    study: str | None,
    older_than: timedelta | None,
    superseded: bool,
    protected: Collection[ArtifactRef],
    now: datetime,
) -> Iterator[Removal]:
    found = [m for ref in store.refs(study) if (m := store.manifest(ref)) is not None]
    newest: dict[tuple[str, str, str], Manifest] = {}
    for manifest in sorted(found, key=lambda manifest: manifest.written):
        newest[_place(manifest)] = manifest
    for manifest in found:
        reasons = []
        if superseded:
            if newest[_place(manifest)] is manifest:
                continue
            reasons.append(f"superseded by {newest[_place(manifest)].key[:12]}")
        if older_than is not None:
            if manifest.written >= now - older_than:
                continue
            reasons.append(f"written {manifest.written:%Y-%m-%d}")
        folder = store.folder(manifest.ref)
        linked = any(map(is_link, (folder, folder.parent, folder.parent.parent)))
        if manifest.ref not in protected and not linked:
            yield Removal(folder, _size(folder), ", ".join(reasons) or f"of study {study}")


def _place(manifest: Manifest) -> tuple[str, str, str]:
    return manifest.study, manifest.step, repr(sorted(manifest.cell.items()))


def _orphans(folder: UPath, before: datetime) -> Iterator[Removal]:
    named = _named(folder)
    for file in _files(folder):
        if (file.parent != folder or file.name not in named) and _modified(file) < before:
            yield Removal(file, file.stat().st_size, "named by no manifest")


def _left_by_killed_runs(store: Store, before: datetime) -> Iterator[Removal]:
    found = dict.fromkeys(released(store), "pin of a run that has ended")
    for name in entry_names(store.root):
        if name.startswith("probe-") or name.endswith(TEMPORARY):
            found[store.root / name] = _UNFINISHED
    for folder in ("pins", "runs", "reports", "failures", "scratch", "quarantine"):
        unfinished = (f for f in _files(store.root / folder) if f.name.endswith(TEMPORARY))
        found |= dict.fromkeys(unfinished, _UNFINISHED)
    for file, why in found.items():
        with suppress(FileNotFoundError):  # a run that ends takes its pin
            if _modified(file) < before:
                yield Removal(file, file.stat().st_size, why)


def _named(folder: UPath) -> set[str]:
    """The files that count in an artifact's folder; with a bad manifest that manifest alone."""
    try:
        text = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return set()
    try:
        manifest = Manifest.model_validate_json(text)
    except ValueError:
        return {MANIFEST}
    return {MANIFEST, *(entry.file for entry in manifest.tables.values())}


def _folders(top: UPath, study: str | None, depth: int) -> Iterator[UPath]:
    """The folders `depth` levels below `top`, of one study or of all."""
    for name in entry_names(top) if study is None else [study]:
        if is_link(top / name):
            continue
        if depth == 1:
            yield top / name
        else:
            yield from _folders(top / name, None, depth - 1)


def _files(folder: UPath) -> Iterator[UPath]:
    for name in entry_names(folder):
        path = folder / name
        if path.is_dir() and not is_link(path):
            yield from _files(path)
        else:
            yield path


def _size(folder: UPath) -> int:
    return sum(
        file.lstat().st_size if is_local(file) else file.stat().st_size for file in _files(folder)
    )


def _modified(file: UPath) -> datetime:
    if is_local(file):
        return datetime.fromtimestamp(file.lstat().st_mtime, UTC)
    modified: datetime = file.fs.modified(file.path)
    return modified if modified.tzinfo else modified.replace(tzinfo=UTC)


def _remove_empty(folder: UPath) -> None:
    """Remove a local folder and those in it, as far as they are empty."""
    if is_local(folder):
        for place, _, _ in os.walk(str(folder), topdown=False):
            if not os.listdir(place):
                os.rmdir(place)
