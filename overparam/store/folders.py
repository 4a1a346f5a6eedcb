"""Small folders of files as a table, byte for byte: how a step hands exported files on."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from overparam.store.errors import StoreError
from overparam.store.tables import Tables

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 4 << 20
"""Bytes of a file that one row holds."""


def folder_table(folder: Path) -> "pa.Table":
    """The files of a folder and below it: one row per block of up to 4 MB, in order.

    Returns:
        Columns ``file`` (path in the folder, with ``/``), ``block`` (from 0) and ``content``.

    Raises:
        ValueError: the folder has no file.
    """
    import pyarrow as pa

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise ValueError(f"{folder} has no file to store")
    rows = [
        (file.relative_to(folder).as_posix(), block, content)
        for file in files
        for block, content in enumerate(_blocks(file))
    ]
    names, blocks, contents = zip(*rows, strict=True)
    return pa.table(
        {
            "file": pa.array(names, pa.string()),
            "block": pa.array(blocks, pa.int64()),
            "content": pa.array(contents, pa.large_binary()),
        }
    )


def write_folders(
    tables: Tables, name: str, root: Path, *, by: Sequence[str] = ()
) -> dict[tuple[Any, ...], Path]:
    """Write tables made by :func:`folder_table` as files again, block by block.

    Args:
        tables: what some cells wrote, read together.
        name: of the table.
        root: the folder to write below; created if it is missing.
        by: cell columns that tell one folder from another; each gets a numbered folder in
            ``root``. None: the files go to ``root`` itself.

    Returns:
        The folder of each combination of the columns' values, in the order stored.

    Raises:
        StoreError: a file's name leads out of its folder.
    """
    folders: dict[tuple[Any, ...], Path] = {}
    for batch in tables.batches(name):
        for row in batch.select([*by, "file", "block", "content"]).to_pylist():
            cell = tuple(row[column] for column in by)
            folder = folders.setdefault(cell, root / str(len(folders)) if by else root)
            place = _inside(folder.resolve(), row["file"])
            first = row["block"] == 0
            if first:
                place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb" if first else "ab") as stream:
                stream.write(row["content"])
    return folders


def _blocks(file: Path) -> Iterable[bytes]:
    with file.open("rb") as stream:
        content = stream.read(BLOCK)
        yield content
        while content := stream.read(BLOCK):
            yield content


def _inside(root: Path, name: str) -> Path:
    place = (root / name).resolve()
    if PurePosixPath(name).is_absolute() or not place.is_relative_to(root) or place == root:
        raise StoreError(f"the stored file name {name!r} leads out of its folder")
    return place
