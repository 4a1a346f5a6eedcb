"""Writing, finding, reading and setting aside artifacts, on a disk and where there is no rename."""

import json
import resource
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from upath import UPath

from overparam.store import (
    ArtifactRef,
    DamagedArtifact,
    Manifest,
    Store,
    StoreError,
    StoreNameError,
    Weights,
    equal_tables,
)
from overparam.store.files import entry_names, file_size

REF = ArtifactRef("study", "step", "0123456789abcdef")
RUNS = pd.DataFrame({"seed": [0, 1, 2], "loss": [0.5, 0.25, 0.125]})


def file_sizes(folder: UPath) -> dict[str, int | None]:
    return {name: file_size(folder / name) for name in entry_names(folder)}


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store.open(tmp_path if request.param == "disk" else f"memory://{uuid.uuid4().hex}/root")


def test_an_artifact_is_what_was_written(store: Store) -> None:
    assert not store.has(REF)
    assert store.manifest(REF) is None and store.damaged(REF) is None
    meta = {"cell": {"seed": 3, "widths": (1, 2)}, "fields": {"size": 40}, "seconds": 1.5}
    manifest = store.write(REF, {"runs": RUNS, "more": RUNS[["loss"]]}, meta=meta)
    assert store.has(REF)
    assert store.manifest(REF) == manifest
    assert manifest.cell == {"seed": 3, "widths": [1, 2]}
    assert manifest.rows == 6
    assert manifest.tables["runs"].columns == {"seed": "int64", "loss": "double"}
    files = file_sizes(store.folder(REF))
    assert files == {e.file: e.bytes for e in manifest.tables.values()} | {
        "manifest.json": files["manifest.json"]
    }
    tables = store.read(REF)
    assert tables.names == ("runs", "more")
    pd.testing.assert_frame_equal(tables["runs"], RUNS)
    assert list(store.verify()) == []


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    manifest = store.write(REF, {"runs": RUNS}, meta={"upstream": ["ab"]}, volatile=["loss"])
    text = (tmp_path / "artifacts" / "study" / "step" / REF.key / "manifest.json").read_text()
    stored = json.loads(text)
    assert stored["meta"] == {"upstream": ["ab"]}
    assert stored["volatile"] == ["loss"]
    assert stored["tables"]["runs"]["sha256"] == manifest.tables["runs"].sha256


def test_equal_data_gives_equal_files_and_another_artifact_replaces(store: Store) -> None:
    first = store.write(REF, {"runs": RUNS}, meta={})
    again = store.write(REF, {"runs": RUNS.copy()}, meta={})
    assert again.tables == first.tables and again.written > first.written
    other = store.write(REF, {"runs": RUNS * 2}, meta={})
    assert other.tables != first.tables
    pd.testing.assert_frame_equal(store.read(REF)["runs"], RUNS * 2)


def test_has_reads_no_table_and_imports_nothing_heavy(tmp_path: Path) -> None:
    Store.open(tmp_path).write(REF, {"runs": RUNS}, meta={})
    code = (
        "import sys; from overparam.store import ArtifactRef, Store\n"
        f"assert Store.open({str(tmp_path)!r}).has(ArtifactRef('study', 'step', {REF.key!r}))\n"
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=path, check=True
    )
    assert done.stdout.strip() == "[]"


def test_refs_and_newest(store: Store) -> None:
    assert list(store.refs()) == []
    keys = [f"{n:08x}" for n in range(4)]
    for number, key in enumerate(keys):
        cell = {"seed": number % 2}
        store.write(ArtifactRef("one", "train", key), {"runs": RUNS}, meta={"cell": cell})
    store.write(ArtifactRef("two", "train", "ab" * 8), {"runs": RUNS}, meta={})
    assert [ref.key for ref in store.refs("one", "train")] == keys
    assert len(list(store.refs())) == 5
    assert [ref.study for ref in store.refs(step="train")] == ["one"] * 4 + ["two"]
    assert list(store.refs("none")) == []
    newest = store.newest("one", "train")
    assert newest is not None and newest.key == keys[3]
    newest = store.newest("one", "train", cell={"seed": 0})
    assert newest is not None and newest.key == keys[2]
    assert store.newest("one", "train", cell={"seed": 7}) is None
    assert store.newest("one", "other") is None


def test_what_is_not_ours_is_not_listed(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write(REF, {"runs": RUNS}, meta={})
    for name in (".DS_Store", "Upper", "lost+found"):
        (tmp_path / "artifacts" / name).mkdir()
    (tmp_path / "artifacts" / "file").write_text("x")
    (tmp_path / "artifacts" / "study" / "step" / "not-a-key").mkdir()
    assert list(store.refs()) == [REF]


def test_a_bad_table_is_refused_before_anything_is_written(store: Store) -> None:
    bad: list[tuple[Any, type[Exception], str]] = [
        ({}, ValueError, "at least one table"),
        ({"runs": RUNS, "Bad/../x": RUNS}, StoreNameError, "table name"),
        ({"runs": RUNS, "x": {"a": [1]}}, TypeError, "table 'x' is a dict"),
        ({"runs": RUNS, "x": [1, 2]}, TypeError, "yields int"),
        ({"runs": RUNS, "x": iter(())}, ValueError, "without a batch"),
        ({"runs": RUNS, "x": RUNS.set_index("seed")}, ValueError, "reset_index"),
        ({"runs": RUNS, "x": pd.DataFrame({"a": [{}]})}, ValueError, "table 'x', column 'a'"),
    ]
    for tables, error, said in bad:
        with pytest.raises(error, match=said):
            store.write(REF, tables, meta={})
    for meta in ({"a": float("nan")}, {"a": {1, 2}}, {"a": object()}):
        with pytest.raises(ValueError, match="meta\\['a'\\]"):
            store.write(REF, {"runs": RUNS}, meta=meta)
    assert file_sizes(store.folder(REF)) == {}


def test_an_iterator_that_fails_leaves_no_artifact_and_no_temporary(store: Store) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [1]})
        raise ZeroDivisionError("the step's own error")

    with pytest.raises(ZeroDivisionError, match="own error"):
        store.write(REF, {"runs": batches()}, meta={})
    assert file_sizes(store.folder(REF)) == {}
    uneven = iter([pa.record_batch({"a": [1]}), pa.record_batch({"a": ["x"]})])
    with pytest.raises(ValueError, match="batch 1 has columns a: string, the first one a: int64"):
        store.write(REF, {"runs": uneven}, meta={})
    assert not store.has(REF) and file_sizes(store.folder(REF)) == {}


def test_every_kind_of_table(store: Store) -> None:
    table = pa.Table.from_pandas(RUNS, preserve_index=False)
    sources = {
        "frame": RUNS,
        "table": table,
        "batch": table.to_batches()[0],
        "reader": table.to_reader(max_chunksize=1),
        "generator": (batch for batch in table.to_batches(max_chunksize=1)),
        "list": table.to_batches(max_chunksize=2),
    }
    store.write(REF, sources, meta={})
    tables = store.read(REF)
    for name in sources:
        pd.testing.assert_frame_equal(tables[name], RUNS)


def test_cell_values_become_columns(store: Store) -> None:
    import torch

    cell = {"method": "roast", "seed": 7}
    store.write(REF, {"runs": RUNS, "net": Weights({"w": torch.ones(2)})}, meta={"cell": cell})
    tables = store.read(REF, cell=cell)
    assert list(tables["runs"].columns) == ["method", "seed", "loss"]
    assert list(tables["runs"]["seed"]) == [0, 1, 2]  # the table's own column stays
    assert set(tables["runs"]["method"]) == {"roast"}
    assert torch.equal(tables.weights("net", seed=7)["w"], torch.ones(2))
    with pytest.raises(ValueError, match="no model with"):
        tables.weights("net", seed=8)


def test_reading_what_is_not_there_says_so(store: Store) -> None:
    with pytest.raises(StoreError, match="no such artifact"):
        store.read(REF)


def test_quarantine_moves_everything(store: Store) -> None:
    store.write(REF, {"runs": RUNS}, meta={})
    place = store.quarantine(REF, "a byte was flipped")
    assert place is not None and str(place).startswith(store.address)
    assert not store.has(REF) and list(store.refs()) == []
    assert "a byte was flipped" in (place / "reason.txt").read_text()
    assert len(file_sizes(place)) == 3
    assert store.quarantine(REF, "again") is None
    store.write(REF, {"runs": RUNS}, meta={})
    second = store.quarantine(REF, "again")
    assert second is not None and second != place


def test_volatile_columns_are_left_out_of_comparisons(store: Store) -> None:
    other = ArtifactRef("study", "step", "ff" * 8)
    timed = RUNS.assign(seconds=[1.0, 2.0, 3.0])
    store.write(REF, {"runs": timed}, meta={}, volatile=["seconds", "elsewhere"])
    store.write(other, {"runs": timed * 1.0 + 0}, meta={}, volatile=["seconds"])
    slower = timed.assign(seconds=9.0)
    store.write(other, {"runs": slower}, meta={}, volatile=["seconds"])
    assert equal_tables(store.read(REF), store.read(other))
    store.write(other, {"runs": slower}, meta={})
    store.write(REF, {"runs": timed}, meta={})
    assert not equal_tables(store.read(REF), store.read(other))
    assert equal_tables(store.read(REF), store.read(other), volatile=["seconds"])


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    # a limit on the size of files stands for a full disk: write(2) refuses likewise
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = Store.open(tmp_path)
    noise = np.random.Generator(np.random.Philox(key=0)).random(100_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StoreError, match=r"no space left.*--store"):
            store.write(REF, {"runs": pd.DataFrame({"noise": noise})}, meta={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not store.has(REF) and file_sizes(store.folder(REF)) == {}


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("in the way")
    with pytest.raises(StoreError, match="a file is where a folder should be"):
        Store.open(tmp_path).write(REF, {"runs": RUNS}, meta={})
    with pytest.raises(StoreError, match="a file is where a folder should be"):
        Store.open(tmp_path).has(REF)


def test_a_manifest_survives_its_own_text() -> None:
    manifest = Manifest.model_validate(
        {
            "format": 1, "study": "a", "step": "b", "key": REF.key, "meta": {"x": [1, None]},
            "written": "2026-01-01T00:00:00Z", "tables": {},
        }
    )  # fmt: skip
    assert Manifest.model_validate_json(manifest.text()) == manifest


def test_damage_crosses_a_process_boundary() -> None:
    import multiprocessing.reduction as wire

    damage = DamagedArtifact(REF, "runs", "gone")
    back = wire.ForkingPickler.loads(wire.ForkingPickler.dumps(damage))
    assert (back.ref, back.table, back.why) == (REF, "runs", "gone")
    assert str(back) == str(damage) and "study/step/0123456789abcdef" in str(back)
