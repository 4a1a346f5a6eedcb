"""One table, one Parquet file: the data alone decides its bytes, and reading checks its hash."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from upath import UPath

from overparam.store._points import reached
from overparam.store.errors import DamagedArtifact
from overparam.store.files import CHUNK, Draft, is_local, storage_errors
from overparam.store.manifest import TableEntry, table_file
from overparam.store.names import ArtifactRef
from overparam.store.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# Bounds of a row group, the unit in which tables are written and read.
GROUP_ROWS = 1 << 17
GROUP_BYTES = 4 << 20

_VOLATILE = b"overparam.volatile"
# A writer's table of distinct values takes many times its size, a reader's lies beside the rows: a
# column that has more of them than this gains little by it.
DICTIONARY_BYTES = 1 << 18
_TABLE_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "dictionary_pagesize_limit": DICTIONARY_BYTES,
}
# The values of weights are random bits: nothing to compress, none twice, no use for the smallest.
# A page per row keeps what is buffered small.
_WEIGHTS_OPTIONS: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": ["tensor", "dtype"],
    "write_batch_size": 1,
    "data_page_size": 1,
}

_verified: set[tuple[object, ...]] = set()


def write_table(folder: UPath, table: str, source: Source, volatile: Sequence[str]) -> TableEntry:
    """Write one table into an artifact's folder; it is visible when complete.

    The same rows in the same batches give the same bytes, with one version of pyarrow. `volatile`
    names columns that are noted in the file as not to be compared.

    Raises:
        StoreError: the folder can't be written to, or there is no room.
        ValueError: batches that don't fit together.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = with_volatile(source.schema, volatile)
    options = _TABLE_OPTIONS
    groups: Iterator[pa.Table]
    if source.weights:
        measured = [name for name in schema.names if name != "values"]
        options = _WEIGHTS_OPTIONS | {"write_statistics": measured}
        groups = (pa.Table.from_batches([block]) for block in source.batches)
    else:
        groups = _groups(source.batches)
    draft = Draft(folder, table)
    try:
        rows = 0
        with storage_errors(folder):
            writer = pq.ParquetWriter(str(draft.path), schema, **options)
        try:
            for group in groups:
                with storage_errors(folder):
                    writer.write_table(group.replace_schema_metadata(schema.metadata))
                rows += group.num_rows
                reached("half")
        finally:
            with storage_errors(folder):
                writer.close()
        draft.finish()
        file = table_file(table, draft.sha256)
        path = draft.commit(file)
    finally:
        draft.discard()
    columns = {field.name: str(field.type) for field in schema}
    entry = TableEntry(
        file=file, rows=rows, bytes=draft.bytes, sha256=draft.sha256, columns=columns
    )
    _verified.add(_token(path, entry))  # these bytes came from here
    return entry


def _groups(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.Table]":
    """The same rows in tables of about `GROUP_BYTES`, at most `GROUP_ROWS` rows."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        per_row = max(1, batch.nbytes // max(1, batch.num_rows))
        step = max(1, min(GROUP_ROWS, GROUP_BYTES // per_row))
        for start in range(0, batch.num_rows, step):
            piece = batch.slice(start, step)
            if waiting and (
                rows + piece.num_rows > GROUP_ROWS or size + piece.nbytes > GROUP_BYTES
            ):
                yield pa.Table.from_batches(waiting)
                waiting, rows, size = [], 0, 0
            waiting.append(piece)
            rows += piece.num_rows
            size += piece.nbytes
    if waiting:
        yield pa.Table.from_batches(waiting)


def with_volatile(schema: "pa.Schema", volatile: Sequence[str]) -> "pa.Schema":
    """The schema with a note of which columns are volatile, besides those it notes already."""
    names = sorted(volatile_columns(schema) | (set(volatile) & set(schema.names)))
    if not names:
        return schema
    return schema.with_metadata({**(schema.metadata or {}), _VOLATILE: json.dumps(names).encode()})


def volatile_columns(schema: "pa.Schema") -> set[str]:
    """The columns that a schema notes as volatile."""
    note = (schema.metadata or {}).get(_VOLATILE)
    return set() if note is None else set(json.loads(note))


@contextmanager
def open_table(
    folder: UPath, ref: ArtifactRef, table: str, entry: TableEntry
) -> "Iterator[pq.ParquetFile]":
    """A table's Parquet file, after a check of its SHA-256 (once per process and file).

    Whatever pyarrow finds wrong with the file inside the `with` block is the artifact's damage,
    too.

    Raises:
        DamagedArtifact: the file is missing, has other bytes than were written, or isn't Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with (
            _checked(folder / entry.file, ref, table, entry) as file,
            # streamed and not read ahead: a reader of batches holds pages, not whole row groups
            pq.ParquetFile(file, pre_buffer=False, buffer_size=CHUNK // 4) as parquet,
        ):
            yield parquet
    except FileNotFoundError:
        raise DamagedArtifact(ref, table, f"file {entry.file} is missing") from None
    except pa.ArrowException as error:
        raise DamagedArtifact(ref, table, f"not a readable Parquet file: {error}") from error
    except OSError as error:
        if error.errno is not None:  # the disk's or the network's fault, perhaps not for long
            raise
        raise DamagedArtifact(ref, table, f"not a readable Parquet file: {error}") from error


@contextmanager
def _checked(path: UPath, ref: ArtifactRef, table: str, entry: TableEntry) -> Iterator[Any]:
    with path.open("rb") if is_local(path) else path.fs.open(path.path, "rb") as file:
        token = _token(path, entry)
        if token in _verified:
            yield file
        elif is_local(path):
            _compare(ref, table, entry, _sha256(file))
            _verified.add(token)
            file.seek(0)
            yield file
        else:
            with (
                tempfile.TemporaryFile() as spool
            ):  # one download serves both the check and the reader
                _compare(ref, table, entry, _sha256(file, spool))
                _verified.add(token)
                spool.seek(0)
                yield spool


def _token(path: UPath, entry: TableEntry) -> tuple[object, ...]:
    if not is_local(path):
        return str(path), entry.sha256
    status = path.stat()
    return str(path), entry.sha256, status.st_ino, status.st_size, status.st_mtime_ns


def _sha256(file: Any, copy: Any = None) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while size := file.readinto(view):
        digest.update(view[:size])
        if copy is not None:
            copy.write(view[:size])
    return digest.hexdigest()


def _compare(ref: ArtifactRef, table: str, entry: TableEntry, found: str) -> None:
    if found != entry.sha256:
        raise DamagedArtifact(
            ref,
            table,
            f"file {entry.file} has SHA-256 {found[:16]}..., {entry.sha256[:16]}... was written",
        )
