"""What becomes of the values in a user's file: scaled or kept; odd columns; kinds of labels."""

import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.datasets import own_samples, read_batches, read_schema
from overparam.datasets.parquet_labels import PIECE_ROWS
from overparam.datasets.parts import FEWEST, TEST, TRAIN, VALIDATION, part_codes
from overparam.datasets.sample_files import sample_file
from overparam.store import Tables

N = 60


def write(path, columns, **options):
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    return path


def whole(samples):
    """All inputs and targets, and the schema."""
    tables = Tables.of(samples.tables())
    parts = [read_batches(tables, name).take(10**9) for name in ("train", "validation", "test")]
    x, y = (torch.cat(side) for side in zip(*parts, strict=True))
    return x, y, read_schema(tables)


@pytest.mark.parametrize("value", [0.1, 1e-300, -1e9 / 3, 0.0])
def test_a_constant_is_zero_in_spite_of_rounding(tmp_path, value):
    file = write(tmp_path / "d.parquet", {"a": [value] * N, "b": np.arange(N), "y": [0, 1] * 30})
    x, _, schema = whole(own_samples(file))
    assert schema["preparation"]["constant"] == ["a"]
    assert schema["preparation"]["deviation"][0] == 1.0
    assert x[:, 0].abs().max() <= 1e-6 * abs(value)


def test_moments_of_many_pieces_are_those_of_numpy(tmp_path):
    rng = np.random.default_rng(0)
    values = 1e6 + rng.normal(size=(20_000, 3)) * [1e-3, 1.0, 50.0]
    file = write(
        tmp_path / "d.parquet",
        {**{f"f{i}": values[:, i] for i in range(3)}, "y": np.arange(20_000) % 2},
    )
    made = own_samples(file, seed=4)
    codes = part_codes(np.arange(20_000) % 2, validation=0.15, seed=4, test=True, stratify=True)
    train = values[codes == TRAIN]
    mean = [math.fsum(c) / len(c) for c in train.T]
    spread = [
        math.sqrt(math.fsum((c - m) ** 2) / len(c)) for c, m in zip(train.T, mean, strict=True)
    ]
    np.testing.assert_allclose(made.preparation["mean"], mean, rtol=1e-14)
    np.testing.assert_allclose(made.preparation["deviation"], spread, rtol=1e-7)


def test_a_user_can_repeat_the_preparation(tmp_path):
    raw = pq.read_table(sample_file("digits"))
    images = np.stack(raw.column("image").to_pylist()).astype(np.float64)
    x, y, schema = whole(own_samples(sample_file("digits")))
    done = schema["preparation"]
    assert x.shape == (1797, 1, 8, 8) and done["shape"] == [1, 8, 8]
    again = ((images - done["mean"]) / done["deviation"]).astype(np.float32)
    digits = np.array(schema["classes"], dtype=int)[y.numpy()]
    expected = sorted(zip(raw.column("digit").to_pylist(), map(tuple, again.tolist()), strict=True))
    assert sorted(zip(digits.tolist(), map(tuple, x.flatten(1).tolist()), strict=True)) == expected


def test_values_can_be_kept_as_they_are(tmp_path):
    tokens = np.arange(N * 4, dtype=np.uint16).reshape(N, 4)
    listed = pa.FixedSizeListArray.from_arrays(pa.array(tokens.reshape(-1)), 4)
    file = write(tmp_path / "t.parquet", {"ids": listed, "y": [0, 1] * 30})
    x, _, schema = whole(own_samples(file, standardize=False))
    assert x.dtype == torch.int64 and not schema["preparation"]["standardized"]
    assert sorted(x.tolist()) == tokens.tolist()
    flat = write(tmp_path / "f.parquet", {"a": np.arange(N), "y": [0, 1] * 30})
    x, _, _ = whole(own_samples(flat, standardize=False))
    assert x.dtype == torch.float32 and sorted(x[:, 0].tolist()) == list(range(N))


def test_integers_beyond_the_floats_booleans_and_decimals_are_features(tmp_path):
    big = 2**62 + np.arange(N)
    decimals = pa.array([f"{i}.5" for i in range(N)]).cast(pa.decimal128(6, 1))
    columns = {"big": big, "flag": np.arange(N) % 3 == 0, "price": decimals, "y": [0, 1] * 30}
    x, _, _ = whole(own_samples(write(tmp_path / "d.parquet", columns)))
    assert x.isfinite().all() and len(x[:, 1].unique()) == 2 and len(x[:, 2].unique()) == N


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64())])
def test_lists_of_free_length_are_inputs_when_all_are_as_long(tmp_path, kind):
    rows = np.random.default_rng(0).normal(size=(N, 6)).tolist()
    file = write(tmp_path / "d.parquet", {"signal": pa.array(rows, kind), "y": [0, 1] * 30})
    assert own_samples(file).first(3)[0].shape == (3, 6)
    assert own_samples(file, shape=(2, 3)).first(3)[0].shape == (3, 2, 3)


def test_integer_classes_are_sorted_as_numbers_and_keep_their_values(tmp_path):
    labels = np.tile([100, -3, 20], 20)
    file = write(tmp_path / "d.parquet", {"a": np.arange(N), "y": labels})
    x, y, schema = whole(own_samples(file, standardize=False))
    assert schema["classes"] == ["-3", "20", "100"]
    names = np.array(schema["classes"], dtype=int)
    assert np.array_equal(names[y], labels[x[:, 0].long()])


def test_labels_read_in_several_pieces(tmp_path):
    n = 2 * PIECE_ROWS + 5
    words = np.where(np.arange(n) < PIECE_ROWS, "b", "c")
    words[-4:] = "a"
    for column in (pa.array(words), pa.array(words).dictionary_encode()):
        file = write(tmp_path / "d.parquet", {"a": np.arange(n, dtype=np.float32), "y": column})
        samples = own_samples(file, standardize=False)
        assert samples.classes == ("a", "b", "c")
        for columns, _ in samples.chunks():
            rows = columns["x"][:, 0].astype(int)
            assert np.array_equal(np.array(samples.classes)[columns["target"]], words[rows])


def test_labels_of_a_test_file_are_matched_by_value(tmp_path):
    train = write(tmp_path / "a.parquet", {"a": np.arange(N), "y": ["x", "y", "z"] * 20})
    test = write(tmp_path / "b.parquet", {"y": ["z", "x"], "a": [1.0, 2.0]})
    tables = Tables.of(own_samples(train, test=test, standardize=False).tables())
    x, y = read_batches(tables, "test").take(2)
    assert sorted(zip(x[:, 0].tolist(), y.tolist(), strict=True)) == [(1.0, 2), (2.0, 0)]


A = np.arange(N, dtype=float)
HALF = [0, 1] * 30
BAD = {
    "twice": (
        pa.table([A, A, HALF], names=["a", "a", "y"]),
        {},
        "more than one column is named 'a'",
    ),
    "words in lists": ({"a": [["u"]] * N, "y": HALF}, {}, "holds lists of string"),
    "empty lists": (
        {"a": pa.array([[]] * N, pa.list_(pa.float32())), "y": HALF},
        {},
        "has 0 in a row",
    ),
    "missing row": (
        {"a": pa.array([[1.0]] * 59 + [None], pa.list_(pa.float32())), "y": HALF},
        {},
        "column 'a'.*missing|unequal",
    ),
    "nan in lists": ({"a": [[1.0, math.nan]] * 2 + [[1.0, 2.0]] * 58, "y": HALF}, {}, r"'a' \(2\)"),
    "zero side": ({"a": A, "y": HALF}, {"shape": (0, 1)}, "allowed: sizes >= 1"),
    "dates": (
        {"a": pa.array([0] * N, pa.timestamp("ms")), "b": A, "y": HALF},
        {},
        r"columns 'a' \(timestamp\[ms\]\) are not numbers",
    ),
    "label a list": ({"a": A, "y": [[1.0]] * N}, {}, "label 'y' is list"),
    "one missing float": ({"a": A, "y": pa.array([None, *A[1:]])}, {}, "'y' has 1 missing values"),
    "too large": (
        {"a": A, "y": A * 1e300},
        {},
        r"'y' has 59 NaN or infinite values \(as float32\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_odd_files_are_refused(tmp_path, case):
    columns, options, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        own_samples(write(tmp_path / "d.parquet", columns), **options)


def test_a_shape_in_the_metadata_that_is_none(tmp_path):
    listed = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(N * 4)), 4)
    field = pa.field("a", listed.type, metadata={"shape": "2x2"})
    table = pa.table([listed, HALF], schema=pa.schema([field, ("y", pa.int64())]))
    with pytest.raises(ValueError, match=r"give the shape '2x2'; allowed: a list such as"):
        own_samples(write(tmp_path / "d.parquet", table))


def test_a_damaged_file(tmp_path):
    file = write(tmp_path / "d.parquet", {"a": np.random.default_rng(0).normal(size=N), "y": HALF})
    content = bytearray(file.read_bytes())
    content[4:60] = b"\xff" * 56
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        own_samples(file).tables()


def test_a_test_file_of_another_kind(tmp_path):
    train = write(tmp_path / "a.parquet", {"a": [[1.0, 2.0]] * N, "y": HALF})
    test = write(tmp_path / "b.parquet", {"a": A, "y": HALF})
    with pytest.raises(ValueError, match=r"of 2 numbers; .* has 1 features"):
        own_samples(train, test=test)
    longer = write(tmp_path / "c.parquet", {"a": [[1.0, 2.0, 3.0]] * N, "y": HALF})
    with pytest.raises(ValueError, match=r"shape is \(2,\), of 2 numbers; column 'a'.*has 3"):
        own_samples(train, test=longer)


@given(
    counts=st.lists(st.integers(FEWEST, 30), min_size=2, max_size=8).filter(lambda c: sum(c) > 20),
    validation=st.floats(0.1, 0.5),
    seed=st.integers(0, 10**6),
    test=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_split_always_leaves_something_of_each_class_to_learn_from(
    counts, validation, seed, test
):
    y = np.repeat(np.arange(len(counts)), counts)
    codes = part_codes(y, validation=validation, seed=seed, test=test, stratify=True)
    assert set(y[codes == TRAIN]) == set(range(len(counts)))
    held = {code: int((codes == code).sum()) for code in (TEST, VALIDATION)}
    assert held[TEST] == (round(0.2 * len(y)) if test else 0)
    assert held[VALIDATION] == round(validation * (len(y) - held[TEST]))
    for code, size in held.items():
        left = codes != TEST if code == VALIDATION else np.full(len(y), True)
        share = np.bincount(y[left], minlength=len(counts)) * size / left.sum()
        assert (abs(np.bincount(y[codes == code], minlength=len(counts)) - share) < 1).all()


def test_a_split_of_a_regression_is_plain_and_seeded():
    codes = [
        part_codes(np.zeros(100), validation=0.25, seed=seed, test=True, stratify=False)
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(codes[0], codes[1]) and not np.array_equal(codes[0], codes[2])
    assert np.bincount(codes[0]).tolist() == [60, 20, 20]


def test_the_metadata_shape_of_a_json_list(tmp_path):
    listed = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(N * 4)), 4)
    field = pa.field("a", listed.type, metadata={"shape": json.dumps([2, 2])})
    table = pa.table([listed, HALF], schema=pa.schema([field, ("y", pa.int64())]))
    assert own_samples(write(tmp_path / "d.parquet", table)).first(1)[0].shape == (1, 2, 2)


def test_a_sample_is_read_as_pandas_reads_it():
    frame = pd.read_parquet(sample_file("breast-cancer"))
    x, y, schema = whole(own_samples(sample_file("breast-cancer"), standardize=False))
    assert schema["preparation"]["columns"] == [n for n in frame if n != "diagnosis"]
    named = np.array(schema["classes"])[y.numpy()]
    expected = frame.drop(columns="diagnosis").to_numpy(np.float32)
    pairs = zip(named.tolist(), map(tuple, x.tolist()), strict=True)
    known = zip(frame["diagnosis"], map(tuple, expected.tolist()), strict=True)
    assert sorted(pairs) == sorted(known)


def test_a_damaged_parquet_file_is_named(tmp_path):
    """Bytes changed all over it, its pages and its footer: it is read, or refused by its name."""
    rng = np.random.default_rng(0)
    whole, damaged = tmp_path / "whole.parquet", tmp_path / "damaged.parquet"
    names = pa.array([f"é{i % 3}" for i in range(900)])
    pq.write_table(pa.table({"a": rng.integers(0, 99, 900), "label": names}), whole)
    content, refused = whole.read_bytes(), 0
    for case in range(250):
        changed = bytearray(content)
        place = int(rng.integers(len(content) if case % 2 else 900))
        changed[place if case % 2 else len(content) - 1 - place] ^= int(rng.integers(1, 256))
        damaged.write_bytes(changed)
        try:
            for rows in own_samples(damaged, label="label").tables().values():
                list(rows)
        except ValueError as error:
            refused += 1
            assert str(damaged) in str(error)
    assert refused > 50
