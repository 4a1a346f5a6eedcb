"""Folders of files as tables: byte for byte, several cells together, nothing outside."""

import pyarrow as pa
import pytest

from overparam.store import StoreError, Tables, folder_table, write_folders
from overparam.store import folders as module


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    (made / "inner").mkdir(parents=True)
    (made / "model.bin").write_bytes(bytes(range(256)) * 10)
    (made / "empty").write_bytes(b"")
    (made / "inner" / "note.txt").write_text("ä")
    return made


def content(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_files_come_back_byte_for_byte(folder, tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    tables = Tables.of({"files": folder_table(folder)})
    assert write_folders(tables, "files", tmp_path / "back") == {(): tmp_path / "back"}
    assert content(tmp_path / "back") == content(folder)


def test_cells_get_folders_of_their_own(folder, tmp_path):
    table = folder_table(folder)
    cells = [
        Tables.of({"files": table}, cell={"method": "magnitude", "ratio": 2.0}),
        Tables.of({"files": table}, cell={"method": "nearest", "ratio": None}),
    ]
    found = write_folders(Tables.concat(cells), "files", tmp_path, by=("method", "ratio"))
    assert list(found) == [("magnitude", 2.0), ("nearest", None)]
    assert all(content(place) == content(folder) for place in found.values())


def test_writing_again_replaces(folder, tmp_path):
    tables = Tables.of({"files": folder_table(folder)})
    for _ in range(2):
        write_folders(tables, "files", tmp_path / "back")
    assert content(tmp_path / "back") == content(folder)


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", ".", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    table = pa.table({"file": [name], "block": [0], "content": [b"x"]})
    with pytest.raises(StoreError, match="leads out of its folder"):
        write_folders(Tables.of({"files": table}), "files", tmp_path / "in")
    assert not (tmp_path / "outside").exists()


def test_a_folder_without_a_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no file to store"):
        folder_table(tmp_path)
