"""The user's samples: what a file or a callable may hold, what is refused, how rows come back."""

import json
import math
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from overparam.datasets import external_shuffle, own_samples, read_batches, read_schema, streamed
from overparam.datasets.sample_files import SAMPLES, sample_file
from overparam.store import ArtifactRef, Store, Tables, tensor_column

N = 60


def frame(**changes):
    rng = np.random.default_rng(0)
    columns = {
        "width": rng.normal(3, 2, N),
        "height": rng.normal(-1, 0.5, N).astype(np.float32),
        "count": rng.integers(0, 9, N),
        "label": np.arange(N) % 3,
    }
    return pd.DataFrame({**columns, **changes})


def parquet(path, table):
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(table, path)
    return path


@pytest.fixture
def file(tmp_path):
    return parquet(tmp_path / "data.parquet", frame())


def stored(samples):
    return Tables.of(samples.tables())


def everything(tables):
    parts = [read_batches(tables, part) for part in ("train", "validation", "test")]
    return torch.cat([p.inputs for p in parts]), torch.cat([p.targets for p in parts])


def test_numeric_columns_are_standardised_by_the_training_rows(file):
    samples = own_samples(file)
    assert (samples.kind, samples.classes) == ("classification", ("0", "1", "2"))
    assert samples.sizes == (41, 7, 12)
    tables = stored(samples)
    train = read_batches(tables, "train")
    torch.testing.assert_close(train.inputs.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(train.inputs.std(0, correction=0), torch.ones(3), rtol=0, atol=1e-5)
    made = read_schema(tables)["preparation"]
    x, y = everything(tables)
    raw = x.double() * torch.tensor(made["deviation"]) + torch.tensor(made["mean"])
    known = frame()
    for values, label in zip(raw.numpy(), y.numpy(), strict=True):
        row = known[np.isclose(known["width"], values[0], atol=1e-5)]
        assert len(row) == 1 and row["label"].item() == label
        assert row["count"].item() == pytest.approx(values[2], abs=1e-5)
    assert len(np.unique(raw[:, 0])) == N


def test_classes_keep_their_shares_in_every_part(file):
    tables = stored(own_samples(file))
    for part in ("train", "validation", "test"):
        counts = torch.bincount(read_batches(tables, part).targets)
        assert counts.max() - counts.min() <= 1


def test_strings_booleans_and_categories_are_classes(tmp_path):
    words = np.array(["wolf", "cat", "dog"])[np.arange(N) % 3]
    for kind in ("str", "category"):
        file = parquet(tmp_path / "d.parquet", frame(label=pd.Series(words).astype(kind)))
        samples = own_samples(file)
        assert samples.classes == ("cat", "dog", "wolf")
    flags = parquet(tmp_path / "f.parquet", frame(label=np.arange(N) % 2 == 0))
    assert own_samples(flags).classes == ("False", "True")


def test_floats_are_a_regression(tmp_path):
    values = np.linspace(-5, 5, N)
    tables = stored(own_samples(parquet(tmp_path / "d.parquet", frame(label=values))))
    assert read_schema(tables)["kind"] == "regression"
    _, y = everything(tables)
    np.testing.assert_allclose(np.sort(y.numpy()), values.astype(np.float32))


def test_a_constant_feature_becomes_zero_and_is_told(tmp_path):
    tables = stored(own_samples(parquet(tmp_path / "d.parquet", frame(height=7.0))))
    assert read_schema(tables)["preparation"]["constant"] == ["height"]
    assert not everything(tables)[0][:, 1].any()


@pytest.mark.parametrize("given", ["metadata", "extension", "argument"])
def test_one_tensor_column(tmp_path, given):
    images = np.arange(N * 8, dtype=np.uint8).reshape(N, 1, 2, 4)
    kind = pa.list_(pa.uint8(), 8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), 8)
    metadata = {"shape": json.dumps([1, 2, 4])} if given == "metadata" else None
    if given == "extension":
        column = tensor_column(images)
        kind = column.type
    schema = pa.schema([pa.field("image", kind, metadata=metadata), ("digit", pa.int64())])
    table = pa.table([column, pa.array(np.arange(N) % 3)], schema=schema)
    file = parquet(tmp_path / "d.parquet", table)
    shape = (1, 2, 4) if given == "argument" else None
    samples = own_samples(file, shape=shape)
    x, _ = everything(stored(samples))
    assert x.shape == (N, 1, 2, 4) and x.dtype == torch.float32
    made = samples.preparation
    raw = (x.double() * made["deviation"][0] + made["mean"][0]).round()
    assert sorted(map(tuple, raw.flatten(1).tolist())) == sorted(
        map(tuple, images.reshape(N, -1).tolist())
    )


def test_numeric_columns_can_be_given_a_shape(tmp_path):
    table = frame(depth=1.5 * np.arange(N))
    file = parquet(tmp_path / "d.parquet", table)
    assert own_samples(file, shape=(2, 2)).first(5)[0].shape == (5, 2, 2)


def test_a_test_file_is_all_of_the_test_part(tmp_path, file):
    more = frame().iloc[:9]
    test = parquet(tmp_path / "test.parquet", more)
    samples = own_samples(file, test=test)
    assert samples.sizes == (51, 9, 9)
    made, x = samples.preparation, read_batches(stored(samples), "test").inputs.double()
    raw = x * torch.tensor(made["deviation"]) + torch.tensor(made["mean"])
    np.testing.assert_allclose(np.sort(raw[:, 0]), np.sort(more["width"]), atol=1e-5)


def test_the_seed_decides_splits_and_order(file):
    first, again = (stored(own_samples(file, seed=3)) for _ in range(2))
    other = stored(own_samples(file, seed=4))
    for part in ("train", "test"):
        x = [read_batches(tables, part).inputs for tables in (first, again, other)]
        assert torch.equal(x[0], x[1]) and not torch.equal(x[0], x[2])


def test_the_label_is_found(tmp_path):
    words = np.array(["a", "b"])[np.arange(N) % 2]
    wordy = frame().drop(columns="label").assign(species=words)
    assert own_samples(parquet(tmp_path / "w.parquet", wordy)).preparation["label"] == "species"
    named = frame().rename(columns={"label": "Target"})
    assert own_samples(parquet(tmp_path / "n.parquet", named)).preparation["label"] == "Target"
    chosen = own_samples(parquet(tmp_path / "c.parquet", frame()), label="count")
    assert len(chosen.classes) == 9


BAD = {
    "no file": (None, {}, "no such file"),
    "no label": (
        lambda: frame().rename(columns={"label": "kind"}),
        {},
        "which column is the label",
    ),
    "wrong label": (frame, {"label": "species"}, "no column 'species'; it has width, height"),
    "one class": (lambda: frame(label=1), {}, "holds one class, '1'"),
    "rare class": (lambda: frame(label=[9, 9, *[1, 2] * 29]), {}, r"too few samples of '9' \(2\)"),
    "missing label": (
        lambda: frame(label=[None, *["a", "b"] * 29, "a"]),
        {},
        "'label' has 1 missing values",
    ),
    "a label per row": (lambda: frame(label=np.arange(N)), {}, "60 distinct values in 60 rows"),
    "nan label": (lambda: frame(label=[math.nan, *np.ones(59)]), {}, "missing|NaN"),
    "inf label": (lambda: frame(label=[math.inf, *np.ones(59)]), {}, "1 NaN or infinite"),
    "nan": (lambda: frame(width=[math.nan] * 2 + [1.0] * 58), {}, r"values in 'width' \(2\)"),
    "missing": (lambda: frame(width=pd.array([None] * 3 + [1] * 57)), {}, r"'width' \(3\)"),
    "words": (
        lambda: frame(height="tall"),
        {"label": "label"},
        r"columns 'height' \(.*not numbers",
    ),
    "shape": (frame, {"shape": (2, 2)}, "of 4 numbers; .* has 3 features"),
    "few": (lambda: frame().iloc[:6].assign(label=[0, 0, 0, 1, 1, 1]), {"validation": 0.01}, "few"),
    "validation": (frame, {"validation": 1.5}, "validation is 1.5"),
    "label only": (lambda: frame()[["label"]], {}, "no column beside the label"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_what_is_allowed(tmp_path, case):
    make, options, words = BAD[case]
    path = tmp_path / "data.parquet"
    if make is not None:
        parquet(path, make())
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        own_samples(path, **options)


def test_files_that_are_no_parquet(tmp_path):
    file = tmp_path / "data.parquet"
    file.write_bytes(b"width,label\n1,2\n")
    with pytest.raises(ValueError, match="is no Parquet file"):
        own_samples(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": 7}, "labels that training does not have: 7; allowed: 0, 1, 2"),
        ({"width": math.nan}, r"NaN, missing or infinite values in 'width' \(9\)"),
        ({"label": 0.5}, "unlike in"),
    ],
)
def test_bad_test_files(tmp_path, file, change, words):
    test = parquet(tmp_path / "test.parquet", frame().iloc[:9].assign(**change))
    with pytest.raises(ValueError, match=words):
        own_samples(file, test=test)


def test_a_test_file_that_lacks_a_column(tmp_path, file):
    test = parquet(tmp_path / "test.parquet", frame().drop(columns="height"))
    with pytest.raises(ValueError, match="lacks the columns height"):
        own_samples(file, test=test)


def test_lists_of_unequal_length(tmp_path):
    lists = [[1.0, 2.0]] * 59 + [[1.0]]
    table = pa.table({"signal": lists, "label": np.arange(N) % 2})
    with pytest.raises(ValueError, match="unequal lengths"):
        own_samples(parquet(tmp_path / "d.parquet", table))


def test_two_tensor_columns(tmp_path):
    table = pa.table({"a": [[1.0]] * N, "b": [[1.0]] * N, "label": np.arange(N) % 2})
    with pytest.raises(ValueError, match="beside the label 'label' there are a, b"):
        own_samples(parquet(tmp_path / "d.parquet", table))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_committed_samples(name):
    samples = own_samples(sample_file(name))
    assert samples.kind == "classification" and sum(samples.sizes) in (1797, 569)


def test_an_unknown_sample():
    with pytest.raises(ValueError, match="allowed: digits, breast-cancer"):
        sample_file("mnist")


# ------------------------------------------------------------------ large data


@pytest.fixture
def sorted_file(tmp_path):
    """30,000 rows sorted by class, in one row group."""
    n = 30_000
    table = pd.DataFrame({"x": np.arange(n, dtype=float), "label": np.arange(n) // 10_000})
    return parquet(tmp_path / "sorted.parquet", table)


def test_large_data_are_shuffled_through_files_and_streamed(tmp_path, sorted_file, monkeypatch):
    monkeypatch.setattr(external_shuffle, "SHARD_BYTES", 40_000)
    monkeypatch.setattr(sys.modules["overparam.datasets.own_samples"], "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(streamed, "WINDOW", 512)
    store = Store.open(tmp_path / "store")
    ref = ArtifactRef("s", "samples", "0" * 32)
    samples = own_samples(sorted_file)
    store.write(ref, samples.tables(), meta={})
    train = read_batches(store.read(ref), "train")
    assert isinstance(train, streamed.Streamed) and len(train) == samples.sizes[0]

    def epoch(seed):
        pairs = list(train.batches(100, seed=seed))
        assert all(len(y) == 100 for _, y in pairs[:-1])
        return torch.cat([x for x, _ in pairs])[:, 0], torch.cat([y for _, y in pairs])

    in_order, labels = epoch(None)
    first, _ = epoch(1)
    assert len(in_order) == len(train)
    assert torch.equal(in_order.sort().values, first.sort().values)
    assert len(in_order.unique()) == len(train)
    assert not torch.equal(in_order, first) and torch.equal(first, epoch(1)[0])
    # Sorted by class in the file; here every 100 rows have all classes.
    assert all(len(part.unique()) == 3 for part in labels.split(100)[:-1])
    rank = in_order.argsort().double()
    drift = torch.corrcoef(torch.stack([rank, torch.arange(len(rank)).double()]))[0, 1]
    assert abs(drift) < 0.03
    x, y = train.take(7)
    assert torch.equal(x[:, 0], in_order[:7]) and torch.equal(y, labels[:7])


def test_streamed_equals_in_memory(sorted_file, monkeypatch):
    tables = stored(own_samples(sorted_file))
    held = read_batches(tables, "test")
    monkeypatch.setattr(sys.modules["overparam.datasets.own_samples"], "IN_MEMORY_BYTES", 0)
    flowing = read_batches(tables, "test")
    for (x, y), (a, b) in zip(held.batches(999), flowing.batches(999), strict=True):
        assert torch.equal(x, a) and torch.equal(y, b)


def test_memory_is_a_shard_not_the_file(tmp_path, monkeypatch):
    """Peak of Python's and Arrow's allocations while 200,000 rows pass through."""
    n = 200_000
    columns = {f"f{i}": np.random.default_rng(i).normal(size=n) for i in range(20)}
    file = tmp_path / "large.parquet"
    table = pa.table({**columns, "label": np.arange(n) % 5})
    pq.write_table(table, file, row_group_size=20_000)
    del columns, table
    monkeypatch.setattr(external_shuffle, "SHARD_BYTES", 1 << 20)
    before = pa.total_allocated_bytes()
    peak_arrow = 0
    tracemalloc.start()
    for name, rows in own_samples(file).tables().items():
        if name != "schema":
            for batch in rows:
                peak_arrow = max(peak_arrow, pa.total_allocated_bytes() - before)
                assert batch.num_rows <= 4096
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    data = n * 20 * 8
    index = n * (8 + 8 + 1)
    assert peak < 6 * index + (8 << 20) < data
    assert peak_arrow < 12 << 20


# ------------------------------------------------------------------ callables


@pytest.fixture
def code(tmp_path):
    def written(body):
        file = tmp_path / f"data_{abs(hash(body))}.py"
        file.write_text(
            "import numpy as np\nimport torch\nfrom torch.utils.data import TensorDataset\n" + body
        )
        return f"{file}:data"

    return written


PAIR = """
def data():
    x = torch.arange(120.0).view(60, 2)
    y = torch.arange(60) % 3
    return (x[:48], y[:48]), (x[48:], y[48:])
"""


def test_pairs_of_tensors(code):
    samples = own_samples(code(PAIR))
    assert samples.sizes == (41, 7, 12) and samples.classes == ("0", "1", "2")
    x, _ = everything(stored(samples))
    assert sorted(x[:, 0].tolist()) == list(range(0, 120, 2))


def test_data_sets_of_tuples_and_class_names(code):
    body = """
class Named(TensorDataset):
    classes = ["cat", "dog"]
    def __getitem__(self, i):
        a, b, y = super().__getitem__(i)
        return (a, b), int(y)

def data():
    make = lambda n: Named(torch.randn(n, 3), torch.arange(n * 4).view(n, 4), torch.arange(n) % 2)
    return {"train": make(40), "test": make(10)}
"""
    tables = stored(own_samples(code(body)))
    assert read_schema(tables)["classes"] == ["cat", "dog"]
    (a, b), y = read_batches(tables, "test").take(3)
    assert a.shape == (3, 3) and a.dtype == torch.float32
    assert b.shape == (3, 4) and b.dtype == torch.int64 and y.dtype == torch.int64


def test_data_sets_of_dicts(code):
    body = """
class Tokens(torch.utils.data.Dataset):
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i):
        return {"input_ids": torch.full((5,), i), "attention_mask": torch.ones(5, dtype=torch.bool),
                "labels": i % 2}

def data():
    return Tokens(40), Tokens(10)
"""
    samples = own_samples(code(body))
    inputs, y = samples.first(4)
    assert set(inputs) == {"input_ids", "attention_mask"} and y.tolist() == [0, 1, 0, 1]
    stored_inputs, _ = read_batches(stored(samples), "train").take(2)
    assert stored_inputs["attention_mask"].dtype == torch.bool
    assert stored_inputs["input_ids"].dtype == torch.int64


def test_float_targets_are_a_regression(code):
    body = PAIR.replace("torch.arange(60) % 3", "torch.linspace(0, 1, 60)")
    assert own_samples(code(body)).kind == "regression"


BAD_CODE = {
    "raises": ("def data():\n    raise OSError('gone')\n", "raised OSError: gone"),
    "no call": ("data = 3\n", "is a int, not callable"),
    "one": ("def data():\n    return 3\n", "gave a int"),
    "mapping": ("def data():\n    return {'train': 3}\n", "mapping without test"),
    "no set": ("def data():\n    return 3, 4\n", "train is a int"),
    "empty": ("def data():\n    return [], [1]\n", "train is empty"),
    "item": ("def data():\n    return [1, 2], [1]\n", r"train\[0\] is a int"),
    "label": ("def data():\n    return [{'x': 1}], [{'x': 1}]\n", "has no label"),
    "words": ("def data():\n    return [('a', 1)], [('a', 1)]\n", "x is no numbers"),
    "labels": (PAIR.replace("% 3", "% 3 * 100"), r"0..C-1"),
    "unseen": (PAIR.replace("y[48:]", "y[48:] * 0 + 5"), r"train does not have: \[5\]"),
    "lengths": (PAIR.replace("y[:48]", "y[:40]"), "48 inputs and 40 targets"),
}


@pytest.mark.parametrize("case", BAD_CODE)
def test_bad_callables_are_refused(code, case):
    body, words = BAD_CODE[case]
    with pytest.raises(ValueError, match=words):
        own_samples(code(body))


def test_an_item_unlike_the_first_is_named(code):
    body = """
def data():
    items = [(torch.zeros(3), i % 2) for i in range(30)]
    items[17] = (torch.zeros(4), 1)
    return items, items[:5]
"""
    with pytest.raises(ValueError, match=r"train\[17\] has inputs .*\(4,\).*expected .*\(3,\)"):
        stored(own_samples(code(body)))


def test_nan_inputs_of_a_callable(code):
    body = PAIR.replace("torch.arange(120.0)", "(torch.arange(120.0) / 0)")
    with pytest.raises(ValueError, match=r"train\[0\]: x is not finite"):
        stored(own_samples(code(body)))
