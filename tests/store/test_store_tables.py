"""Tables of several artifacts, and of memory, are read as one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from overparam.store import ArtifactRef, Store, Tables, differences, tensor_column
from overparam.store import parquet as parquet_module

FRAME = pd.DataFrame({"x": [1.0, 2.0], "s": ["a", None]})


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    ref = ArtifactRef("study", "step", "0" * 8)
    store.write(ref, {"a": FRAME, "b": FRAME}, meta={})
    tables = store.read(ref)
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    assert list(tables) == ["a", "b"] and len(tables) == 2
    assert "a" in tables and "c" not in tables
    assert repr(tables) == "Tables(a: 2 rows, b: 2 rows)"
    assert tables.columns("a") == ("x", "s")


def test_unknown_names_list_the_known_ones() -> None:
    tables = Tables.of({"runs": FRAME})
    with pytest.raises(KeyError, match="no table 'nope'; there are runs"):
        tables["nope"]
    assert tables.get("nope") is None
    with pytest.raises(KeyError, match="no column 'nope'; it has x, s"):
        tables.array("runs", "nope")
    with pytest.raises(KeyError, match="no column 'nope'"):
        tables.arrow("runs", ["x", "nope"])


def test_only() -> None:
    pd.testing.assert_frame_equal(Tables.of({"runs": FRAME}).only(), FRAME)
    with pytest.raises(ValueError, match="there are 2 tables"):
        Tables.of({"a": FRAME, "b": FRAME}).only()


def test_what_is_read_is_the_readers_to_change() -> None:
    source = pd.DataFrame({"x": np.arange(3.0)})
    tables = Tables.of({"runs": source})
    source.loc[0, "x"] = 99.0
    frame = tables["runs"]
    frame.loc[1, "x"] = 99.0
    frame["y"] = 1
    array = tables.array("runs", "x")
    array[2] = 99.0
    assert list(tables["runs"]["x"]) == [0.0, 1.0, 2.0]
    assert list(tables["runs"].columns) == ["x"]


def test_cells_are_read_one_after_the_other(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    parts = []
    for seed in range(3):
        ref = ArtifactRef("study", "step", f"{seed:08x}")
        image = tensor_column(np.full((2, 2, 2), seed, np.float32))
        store.write(
            ref,
            {
                "runs": pd.DataFrame({"x": [seed, seed + 0.5] if seed else [0, 1]}),
                "images": pa.table({"image": image}),
                "kinds": pd.DataFrame({"kind": pd.Categorical([f"k{seed}", "all"])}),
            },
            meta={"cell": {"seed": seed}},
        )
        parts.append(store.read(ref, cell={"seed": seed}))
    tables = Tables.concat(parts)
    frame = tables["runs"]
    assert list(frame["seed"]) == [0, 0, 1, 1, 2, 2]
    assert list(frame["x"]) == [0, 1, 1, 1.5, 2, 2.5]  # integers in one cell, floats in others
    assert [n for batch in tables.batches("runs") for n in batch.column("x").to_pylist()] == list(
        frame["x"]
    )
    assert tables.array("images", "image")[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert list(tables["kinds"]["kind"]) == ["k0", "all", "k1", "all", "k2", "all"]


def test_missing_columns_and_tables_of_some_cells() -> None:
    tables = Tables.concat(
        [
            Tables.of({"runs": pd.DataFrame({"x": [1.0]})}),
            Tables.of({"runs": pd.DataFrame({"x": [None], "y": ["a"]}), "extra": FRAME}),
        ]
    )
    frame = tables["runs"]
    assert frame["x"].tolist()[0] == 1.0 and np.isnan(frame["x"].tolist()[1])
    assert pd.isna(frame["y"][0]) and frame["y"][1] == "a"
    assert tables.names == ("runs", "extra")
    clash = Tables.concat(
        [Tables.of({"r": FRAME[["x"]]}), Tables.of({"r": pd.DataFrame({"x": ["a"]})})]
    )
    with pytest.raises(ValueError, match="table 'r': the parts that its cells wrote don't fit"):
        clash["r"]


def test_large_tables_are_read_in_pieces(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    ref = ArtifactRef("study", "step", "0" * 8)
    store.write(
        ref, {"images": pa.table({"image": tensor_column(np.zeros((1000, 64, 64)))})}, meta={}
    )
    batches = [batch.nbytes for batch in store.read(ref).batches("images")]
    assert sum(batches) >= 1000 * 64 * 64 * 8
    assert max(batches) <= (1 + 1 / 64) * parquet_module.GROUP_BYTES  # and a bit per number


def test_a_file_is_hashed_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    real = parquet_module._sha256
    monkeypatch.setattr(parquet_module, "_sha256", lambda *a: hashed.append(1) or real(*a))
    store = Store.open(tmp_path)
    ref = ArtifactRef("study", "step", "0" * 8)
    store.write(ref, {"runs": FRAME}, meta={})
    store.read(ref)["runs"]
    assert len(hashed) == 0  # these bytes came from this process
    (file,) = tmp_path.rglob("*.parquet")
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data)
    for _ in range(3):
        store.read(ref)["runs"]
    assert len(hashed) == 1


def test_differences_name_table_and_column() -> None:
    a = {"runs": FRAME, "gone": FRAME}
    b = {"runs": FRAME.assign(x=0.0), "new": FRAME}
    assert differences(a, b) == [
        "table 'gone' is in one only",
        "table 'new' is in one only",
        "table 'runs': column 'x' differs",
    ]
    assert differences(a, Tables.of(a)) == []
