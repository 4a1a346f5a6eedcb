"""Memory of a process that reads, shuffles, stores and streams a large file in one row group."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overparam.datasets import chunk_rows
from overparam.datasets.chunk_rows import CHUNK_BYTES, CHUNK_ROWS

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
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert made.returncode == 0, made.stderr
    # The first file, of 31 MB, has filled what is held of any file; the second has 92 MB. Besides
    # an index of some bytes per row, what it adds is the allocators' waste.
    assert int(made.stdout) < 0.35 * (ROWS - ROWS // 3) * WIDTH * 4


@pytest.mark.parametrize(
    ("size", "rows"),
    [(1, CHUNK_ROWS), (CHUNK_BYTES // 100, 100), (CHUNK_BYTES, 1), (5 * CHUNK_BYTES, 1), (0, 4096)],
)
def test_pieces_are_bounded_in_rows_and_bytes(size, rows):
    assert chunk_rows.chunk_rows(size) == rows
