"""The store: artifacts by address, on a disk or on any file system that fsspec knows."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

from pydantic import ValidationError
from upath import UPath

from overparam.store.errors import DamagedArtifact, StoreError
from overparam.store.files import (
    TEMPORARY,
    entry_names,
    file_size,
    is_link,
    move,
    put,
    storage_errors,
)
from overparam.store.location import locate
from overparam.store.manifest import MANIFEST, Manifest, checked_meta
from overparam.store.names import ArtifactRef, StoreNameError, check_key, check_name
from overparam.store.parts import StoredPart
from overparam.store.sources import TableLike, as_source
from overparam.store.tables import Tables


class Store:
    """Artifacts under `ROOT/artifacts/STUDY/STEP/KEY/`: one Parquet file per table, and a manifest.

    The manifest, written last, alone makes an artifact exist. Of two writers of one key both
    succeed, and the last manifest counts; as table files carry the hash of their content, no
    reader sees a mix.

    Attributes:
        root: the folder of everything below.
        artifacts: `ROOT/artifacts`.
        reports: `ROOT/reports`, where pages go.
    """

    def __init__(self, root: UPath) -> None:
        self.root = root
        self.artifacts = root / "artifacts"
        self.reports = root / "reports"

    @classmethod
    def open(cls, root: str | os.PathLike[str] | None = None) -> Self:
        """The store at `root`, or where `locate` finds it. Creates nothing.

        Raises:
            StoreError: the address can't be a store (see `locate`).
        """
        return cls(locate(root))

    @property
    def address(self) -> str:
        """What `Store.open` takes to open this store elsewhere, in a worker process for example."""
        return str(self.root)

    def __repr__(self) -> str:
        return f"Store({self.address!r})"

    def check_writable(self) -> None:
        """Write a small file and remove it: before an hour of work whose result is to be kept.

        Raises:
            StoreError: that is not possible; names the place and says why.
        """
        probe = self.root / f"probe-{secrets.token_hex(8)}"
        try:
            put(probe, b"probe")
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"{self.root} can't be written to: {error.strerror or error}. Use another --store"
            ) from error

    def folder(self, ref: ArtifactRef) -> UPath:
        """The folder of an artifact, which may or may not exist."""
        return self.artifacts / ref.study / ref.step / ref.key

    def has(self, ref: ArtifactRef) -> bool:
        """Whether the artifact exists.

        That is: a valid manifest, and the files that it names in the sizes that it names. Tables
        are not read.
        """
        return self.manifest(ref) is not None

    def manifest(self, ref: ArtifactRef) -> Manifest | None:
        """The artifact's manifest; None if there is none or it doesn't count (`damaged`)."""
        found = self._inspect(ref)
        return found if isinstance(found, Manifest) else None

    def damaged(self, ref: ArtifactRef) -> str | None:
        """Why an artifact that has a manifest doesn't count; None if it is whole or never was."""
        found = self._inspect(ref)
        return found if isinstance(found, str) else None

    def refs(self, study: str | None = None, step: str | None = None) -> Iterator[ArtifactRef]:
        """The artifacts that have a manifest, of one study or step if one is given, sorted.

        Raises:
            StoreNameError: `study` or `step` can't be such a name.
        """
        for a_study in self._listed(self.artifacts, partial(check_name, "study"), study):
            for a_step in self._listed(self.artifacts / a_study, partial(check_name, "step"), step):
                for key in self._listed(self.artifacts / a_study / a_step, check_key, None):
                    ref = ArtifactRef(a_study, a_step, key)
                    if (self.folder(ref) / MANIFEST).exists():
                        yield ref

    def newest(
        self, study: str, step: str, cell: Mapping[str, Any] | None = None
    ) -> Manifest | None:
        """The manifest of a step written last, of a cell if one is given; None if there is none."""
        wanted = None if cell is None else checked_meta(cell)
        manifests = (
            self.manifest(ref)
            for ref in self.refs(check_name("study", study), check_name("step", step))
        )
        fitting = [m for m in manifests if m is not None and wanted in (None, m.cell)]
        return max(fitting, key=lambda manifest: manifest.written, default=None)

    def write(
        self,
        ref: ArtifactRef,
        tables: Mapping[str, TableLike],
        *,
        meta: Mapping[str, Any],
        volatile: Sequence[str] = (),
    ) -> Manifest:
        """Store an artifact, which exists when this returns; one of the same address is replaced.

        Args:
            ref: its address.
            tables: by name: data frame, Arrow table, record batch or reader, iterator of record
                batches (run once, in bounded memory), `Weights`.
            meta: what JSON can hold, to be kept in the manifest: how the artifact came to be.
                `meta["cell"]` is the cell that it belongs to.
            volatile: columns that two equal runs need not agree on (seconds); comparisons leave
                them out.

        Raises:
            StoreNameError, TypeError, ValueError: a table or a `meta` that can't be stored
                exactly, before anything is written (what an iterator yields later, when it comes
                to that).
            StoreError: not writable, no space left.
        """
        if not tables:
            raise ValueError(f"artifact {ref}: give at least one table")
        kept = checked_meta(meta)
        sources = {name: as_source(name, table) for name, table in tables.items()}
        from overparam.store.parquet import write_table

        folder = self.folder(ref)
        entries = {
            name: write_table(folder, name, source, volatile) for name, source in sources.items()
        }
        manifest = Manifest.new(
            ref, entries, written=datetime.now(UTC), volatile=tuple(volatile), meta=kept
        )
        put(folder / MANIFEST, manifest.text().encode())
        return manifest

    def read(self, ref: ArtifactRef, *, cell: Mapping[str, Any] | None = None) -> Tables:
        """The artifact's tables, lazily. The first reading of a file checks its SHA-256.

        Args:
            ref: its address.
            cell: values to become columns of each table that lacks them.

        Raises:
            StoreError: there is no such artifact.
            DamagedArtifact: its manifest is no manifest, or files are missing or of another size;
                a table's reading raises it for other bytes.
        """
        found = self._inspect(ref)
        if found is None:
            raise StoreError(f"{self.folder(ref)}: no such artifact. Run the step that makes it")
        if isinstance(found, str):
            raise DamagedArtifact(ref, None, found)
        return Tables([StoredPart(self.folder(ref), found, cell)])

    def quarantine(self, ref: ArtifactRef, reason: str) -> UPath | None:
        """Move an artifact to `ROOT/quarantine`, with a file `reason.txt`; it exists no more.

        Returns:
            The new place, None if there was nothing to move. A link is removed, not its target.
        """
        folder = self.folder(ref)
        if is_link(folder):
            folder.unlink()
            return None
        names = [name for name in entry_names(folder) if not name.endswith(TEMPORARY)]
        if not names:
            return None
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}"
        place = self.root / "quarantine" / ref.study / ref.step / f"{ref.key}-{stamp}"
        # the manifest goes first: from then on the artifact doesn't exist, whatever happens next
        for name in sorted(names, key=lambda name: name != MANIFEST):
            try:
                move(folder / name, place / name)
            except FileNotFoundError:
                continue  # another process sets the same artifact aside
        put(place / "reason.txt", f"{ref}\n{reason}\n".encode())
        return place

    def scratch(self, key: str) -> UPath:
        """The folder for a step's checkpoints, by the key of the artifact that it will become.

        Raises:
            StoreNameError: not a key.
        """
        return self.root / "scratch" / check_key(key)

    def verify(self) -> Iterator[tuple[ArtifactRef, str | None, str]]:
        """Read every byte; yields the damage found as (artifact, table or None, problem)."""
        for ref in self.refs():
            try:
                tables = self.read(ref)
            except DamagedArtifact as damage:
                yield ref, damage.table, damage.why
                continue
            for name in tables:
                try:
                    for _ in tables.batches(name):
                        pass
                except DamagedArtifact as damage:
                    yield ref, damage.table, damage.why

    def _inspect(self, ref: ArtifactRef) -> Manifest | str | None:
        """The manifest of a whole artifact, else what is wrong with it; None if there is none."""
        folder = self.folder(ref)
        path = folder / MANIFEST
        try:
            with storage_errors(path, "read"):
                text = path.read_bytes()
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            return f"{MANIFEST} is a folder"
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "it"
            return f"{MANIFEST} is not a manifest: {place}: {first['msg']}"
        if manifest.ref != ref:
            return f"{MANIFEST} is that of {manifest.ref}"
        for name, entry in manifest.tables.items():
            size = file_size(folder / entry.file)
            if size is None:
                return f"table {name!r}: file {entry.file} is missing"
            if size != entry.bytes:
                return f"table {name!r}: file {entry.file} has {size} bytes, not {entry.bytes}"
        if not manifest.whole:
            return f"{MANIFEST} has other content than was written"
        return manifest

    def _listed(self, folder: UPath, check: Callable[[str], str], one: str | None) -> list[str]:
        if one is not None:
            return [check(one)]
        names = []
        for name in entry_names(folder):
            with suppress(StoreNameError):  # nothing of ours
                names.append(check(name))
        return sorted(names)
