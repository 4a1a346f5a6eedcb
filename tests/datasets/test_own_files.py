import hashlib

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from overparam.datasets import read_arrays, read_labelled, read_table
from overparam.datasets.files import ARRAYS, TABLES

X = np.arange(24, dtype=np.float32).reshape(4, 1, 2, 3)
Y = np.array([0, 1, 1, 0], dtype=np.int32)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".npy"])
def test_labelled_arrays_round_trip(tmp_path, suffix):
    file, labels = tmp_path / f"images{suffix}", None
    if suffix == ".npz":
        np.savez_compressed(file, x=X, y=Y)
    elif suffix == ".safetensors":
        save_file({"x": X, "y": Y}, file)
    else:
        labels = tmp_path / "labels.npy"
        np.save(file, X)
        np.save(labels, Y)
    data = read_labelled(file, labels)
    assert np.array_equal(data.x, X) and data.x.dtype == np.float32
    assert np.array_equal(data.y, Y) and data.y.dtype == np.int64
    assert data.meta["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_labelled_tables_round_trip(tmp_path, suffix):
    table = pd.DataFrame({"a": [0.5, 1.5, 2.5], "y": [0, 1, 0], "b": [1, 2, 3]})
    file = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        table.to_parquet(file)
    elif suffix == ".csv":
        table.to_csv(file, index=False)
    else:
        file.write_text(table.to_json(orient="records", lines=True))
    pd.testing.assert_frame_equal(read_table(file), table)
    data = read_labelled(file)
    assert data.x.tolist() == [[0.5, 1], [1.5, 2], [2.5, 3]] and data.y.tolist() == [0, 1, 0]


def test_arrays_keep_their_names(tmp_path):
    np.savez(tmp_path / "a.npz", first=X, second=Y)
    np.save(tmp_path / "images.npy", X)
    assert list(read_arrays(tmp_path / "a.npz")) == ["first", "second"]
    assert list(read_arrays(tmp_path / "images.npy")) == ["images"]


class Planted:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_objects_are_never_unpickled(tmp_path):
    planted = np.array([Planted()], dtype=object)
    np.savez(tmp_path / "a.npz", x=planted, y=Y)
    np.save(tmp_path / "a.npy", planted, allow_pickle=True)
    planted.dump(tmp_path / "raw.npy")
    planted.dump(tmp_path / "raw.npz")
    for name in ("a.npz", "a.npy", "raw.npy", "raw.npz"):
        with pytest.raises(ValueError, match=f"{name}: can't be read as"):
            read_arrays(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no arrays", b"PK\x03\x04 torn"])
def test_damaged_arrays(tmp_path, suffix, content):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"a{suffix}: can't be read as {suffix}"):
        read_arrays(file)


def test_a_truncated_archive(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, x=X, y=Y)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ValueError, match="can't be read"):
        read_arrays(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"no table", "can't be read as .parquet"),
        ("a.csv", b"", "can't be read as .csv"),
        ("a.csv", b"a,y\n", "no rows"),
        ("a.csv", b"\xff\xfe\xfa", "can't be read as .csv"),
        ("a.jsonl", b'{"a": 1}\n{"a": ', "line 2"),
        ("a.jsonl", b"[1, 2]\n", "line 1 is not a JSON object"),
        ("a.pkl", b"", r"suffix '.pkl'; allowed: .parquet, .csv, .jsonl"),
    ],
)
def test_damaged_tables(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, r"no array 'y'; it holds x; needed"),
        ({"y": Y, "images": X}, r"no array 'x'; it holds y, images"),
        ({"x": X.astype(np.uint8), "y": Y}, "x is uint8; allowed: floating"),
        ({"x": X, "y": Y.astype(float)}, "y is float64; allowed: integer"),
        ({"x": X, "y": Y[:3]}, r"y has shape \(3,\) and x has 4 samples; needed: \(4,\)"),
        ({"x": X, "y": Y[:, None]}, r"y has shape \(4, 1\)"),
        ({"x": X[:, 0, 0, 0], "y": Y}, r"x has shape \(4,\)"),
        ({"x": X[:0], "y": Y[:0]}, "nothing empty"),
        ({"x": np.where(X < 3, np.nan, X), "y": Y}, "x has 3 NaN or infinite values of 24"),
        ({"x": X, "y": -Y}, "the class -1; allowed: 0 and up"),
        ({"x": X, "y": 0 * Y}, "one class, 0; allowed: at least two"),
    ],
)
def test_bad_labelled_arrays_name_the_file(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=rf"mine.npz: .*{message}"):
        read_labelled(tmp_path / "mine.npz")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a,b\n1,2\n", "columns a, b; needed: y"),
        ("y\n1\n", "columns y; needed"),
        ("a,y\nred,1\nblue,0\n", "column 'a' is (str|object); allowed: numbers"),
        ("a,y\n1,1\n2,\n", "y has 1 missing"),
        ("a,y\n1,1\n,0\n", "x has 1 NaN"),
        ("a,y\n1,cat\n2,dog\n", "y is (str|object)"),
    ],
)
def test_bad_labelled_tables_name_the_file(tmp_path, table, message):
    (tmp_path / "mine.csv").write_text(table)
    with pytest.raises(ValueError, match=rf"mine.csv: .*{message}"):
        read_labelled(tmp_path / "mine.csv")


def test_other_bad_input(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    with pytest.raises(FileNotFoundError, match=r"none.npz: no such file"):
        read_labelled(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"second .npy file of labels"):
        read_labelled(tmp_path / "x.npy")
    with pytest.raises(ValueError, match="other files hold both"):
        read_labelled(tmp_path / "a.npz", tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"suffix '.pt'; allowed: .npz, .npy"):
        read_labelled(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", [*TABLES, *ARRAYS])
def test_whatever_is_damaged_the_file_is_named(tmp_path, suffix):
    """Bytes changed and ends cut off all over a file: it is read, or refused by its name."""
    rng = np.random.default_rng(0)
    whole, damaged = tmp_path / f"whole{suffix}", tmp_path / f"damaged{suffix}"
    x = rng.normal(size=400)
    frame = pd.DataFrame({"x": x, "word": [f"é{i}" for i in range(400)]})
    {
        ".parquet": frame.to_parquet,
        ".csv": frame.to_csv,
        ".jsonl": lambda file: frame.to_json(file, orient="records", lines=True),
        ".npz": lambda file: np.savez_compressed(file, x=x),
        ".npy": lambda file: np.save(file, x),
        ".safetensors": lambda file: save_file({"x": x}, file),
    }[suffix](whole)
    content = whole.read_bytes()
    read = read_table if suffix in TABLES else read_arrays
    read(whole)
    refused = 0
    for case in range(120):
        changed = bytearray(content)
        place = int(rng.choice([rng.integers(len(content)), rng.integers(90)]))
        place = place if rng.random() < 0.5 else len(content) - 1 - place
        if case % 4:
            changed[place] ^= int(rng.integers(1, 256))
        else:
            del changed[place:]
        damaged.write_bytes(changed)
        try:
            read(damaged)
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"{damaged}: ") and not str(error).endswith(": ")
    assert refused > 10
