"""Memory of a process that reads, shuffles, stores and streams a large file in one row group."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overparam.datasets import chunk_rows
from overparam.datasets.chunk_rows import CHUNK_BYTES, CHUNK_ROWS
from overparam.datasets.external_shuffle import SHARD_BYTES
from overparam.datasets.streamed import WINDOW_BYTES
from overparam.store.parquet import GROUP_BYTES

ROWS = 90_000
WIDTH = 256
PASS = """
import sys
from pathlib import Path
from overparam.datasets import own_samples, read_batches
from overparam.datasets.streamed import Streamed
from overparam.store import ArtifactRef, Store

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def passed(file, store, key):
    samples = own_samples(file, label="y")
    store.write(ref := ArtifactRef("s", "samples", key * 32), samples.tables(), meta={})
    train = read_batches(store.read(ref), "train")
    assert sum(len(y) for _, y in train.batches(256, seed=1)) == samples.sizes[0]
    return isinstance(train, Streamed), peak()

store = Store.open(sys.argv[3])
streamed, before = passed(sys.argv[1], store, "0")
assert streamed
streamed, after = passed(sys.argv[2], store, "1")
assert streamed
print((after - before) * 1024)
"""

# What is freed goes back to the system at once: the peak is that of memory in use.
EXACT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def write(path, rows):
    values = np.random.default_rng(0).standard_normal(rows * WIDTH, dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), WIDTH)
    table = pa.table({"x": column, "y": np.sort(np.arange(rows) % 5)})
    pq.write_table(table, path, row_group_size=rows)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_large_file_passes_through_little_memory(tmp_path):
    small = write(tmp_path / "small.parquet", ROWS // 3)
    large = write(tmp_path / "large.parquet", ROWS)
    made = subprocess.run(
        [sys.executable, "-c", PASS, small, large, tmp_path / "store"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **EXACT},
    )
    assert made.returncode == 0, made.stderr
    print(f"{int(made.stdout) / 2**20:.1f} MiB")
    # The first file, of 31 MB, has filled what is held of any file; the second has 92 MB. Besides
    # an index of some bytes per row, it adds what fragments.
    assert int(made.stdout) < 0.25 * (ROWS - ROWS // 3) * WIDTH * 4


@pytest.mark.parametrize(
    ("size", "rows"),
    [(1, CHUNK_ROWS), (CHUNK_BYTES // 100, 100), (CHUNK_BYTES, 1), (5 * CHUNK_BYTES, 1), (0, 4096)],
)
def test_pieces_are_bounded_in_rows_and_bytes(size, rows):
    assert chunk_rows.chunk_rows(size) == rows


MILLION = 1_000_000
FEATURES = 16
# Of each row: its label (int32), its part (int8), and its place, once sorted by class and once
# shuffled (int32 each).
INDEX_BYTES = MILLION * (4 + 1 + 4 + 4)
# A page and a dictionary of one column, as read and as expanded, and a row group on its way into
# the store, as rows, as encoded and as compressed.
READER_BYTES = 4 * (1 << 20) + 3 * GROUP_BYTES
# All rows of the test part have a prediction, held in pieces and once joined, and a label.
OUTPUT_BYTES = MILLION // 5 * 2 * (5 * 4 + 8)
EVERY_STAGE = """
import gc, sys
from pathlib import Path
import torch
from overparam.datasets import own_samples, read_batches
from overparam.store import ArtifactRef, Store
from overparam.training import Recipe, train_model
from overparam.training.own_task import score_of, task_of

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))

def passed(file, key):
    store, ref = Store.open(sys.argv[3]), ArtifactRef("s", "samples", key * 16)
    store.write(ref, own_samples(file, label="y").tables(), meta={})
    yield "generate"
    tables = store.read(ref)
    net, task = torch.nn.Linear(int(sys.argv[4]), 5), task_of(None, tables)
    recipe = Recipe(1, 0.01, batch_size=1024)
    train_model(net, read_batches(tables, "train"), task, recipe, seed=0)
    yield "train"
    assert score_of(net, read_batches(tables, "test"), task) > 0.9 * int(key)
    yield "evaluate"

# Everything is streamed, so that the small file loads all code and no part is held in memory.
sys.modules["overparam.datasets.own_samples"].IN_MEMORY_BYTES = 0
for _ in passed(sys.argv[1], "0"):
    pass
gc.collect()
before = memory("VmRSS")
for stage in passed(sys.argv[2], "1"):
    print(stage, memory("VmHWM") - before)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
"""


def write_columns(path, rows):
    rng = np.random.default_rng(0)
    label = np.arange(rows) % 5
    columns = {f"f{i}": rng.standard_normal(rows) + (label == i) * 9 for i in range(FEATURES)}
    pq.write_table(pa.table({**columns, "y": label}), path, row_group_size=rows)
    return path


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc"
)
def test_a_million_rows_need_a_batch_and_an_index(tmp_path):
    """Reading, splitting, shuffling, storing, training and scoring: 128 MB in one row group."""
    files = [write_columns(tmp_path / f"{n}.parquet", n) for n in (3000, MILLION)]
    made = subprocess.run(
        [sys.executable, "-c", EVERY_STAGE, *files, tmp_path / "store", str(FEATURES)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **EXACT},
    )
    assert made.returncode == 0, made.stderr
    grown = {stage: int(size) for stage, size in map(str.split, made.stdout.splitlines())}
    print({stage: f"{size / 2**20:.1f} MiB" for stage, size in grown.items()})
    assert list(grown) == ["generate", "train", "evaluate"]
    assert grown["generate"] < SHARD_BYTES + INDEX_BYTES + READER_BYTES
    assert grown["train"] < WINDOW_BYTES + READER_BYTES
    assert grown["evaluate"] < WINDOW_BYTES + READER_BYTES + OUTPUT_BYTES
