"""What streams stays small: a million rows, and weights of any size."""

import subprocess
import sys
from pathlib import Path

import pytest

# Run in a process of its own, after a small warm-up that loads code.
COMMON = """
import gc, sys
import numpy, pyarrow
from overparam.store import ArtifactRef, Store, Weights
def memory(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))
# Peak and result of some work, the peak counted from before it.
def extra(work):
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = memory("VmRSS")
    kept = work()
    return memory("VmHWM") - before, kept
store = Store.open(sys.argv[1])
ref = ArtifactRef("study", "step", "0123456789abcdef")
"""

ROWS = """
def batches(count):
    for start in range(count):
        columns = {f"x{k}": numpy.arange(10_000) + float(start + k) for k in range(10)}
        yield pyarrow.record_batch(columns)
store.write(ref, {"runs": batches(1)}, meta={})
for batch in store.read(ref).batches("runs"):
    pass
del batch
print(extra(lambda: store.write(ref, {"runs": batches(100)}, meta={}) and None)[0])
def read():
    rows = total = 0
    for batch in store.read(ref).batches("runs"):
        rows += batch.num_rows
        total += pyarrow.compute.sum(batch.column("x0")).as_py()
    assert rows == 1_000_000
    assert total == sum(10_000 * start + 9999 * 5000 for start in range(100))
import pyarrow.compute
import overparam.store.parquet
overparam.store.parquet._verified.clear()
print(extra(read)[0])
"""

WEIGHTS = """
import torch
warm = {"w": torch.ones(100_000), "strided": torch.randn(300, 300).t()}
store.write(ref, {"net": Weights(warm)}, meta={})
store.read(ref).weights("net")
layers = {f"layer{k}": torch.randn(2_500_000) for k in range(3)}
layers |= {f"bias{k}": torch.randn(100) for k in range(500)}
layers["strided"] = torch.randn(1500, 1500).t()
print(extra(lambda: store.write(ref, {"net": Weights(layers)}, meta={}) and None)[0])
import overparam.store.parquet
overparam.store.parquet._verified.clear()
peak, state = extra(lambda: store.read(ref).weights("net"))
print(peak - sum(tensor.nbytes for tensor in state.values()))
assert all(torch.equal(layers[name], state[name]) for name in layers)
"""


# What is freed goes back to the system at once: the peak is that of memory in use.
EXACT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def peaks(code: str, root: Path) -> list[int]:
    path = EXACT | {"PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-c", COMMON + code, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, env=path, check=False)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc"
)


@needs_proc
def test_a_million_rows_from_an_iterator(tmp_path: Path) -> None:
    whole = 1_000_000 * 10 * 8
    for peak in peaks(ROWS, tmp_path):
        assert peak < whole / 2


@needs_proc
def test_weights_need_less_than_one_and_a_half_blocks_more(tmp_path: Path) -> None:
    from overparam.store.weights import BLOCK_BYTES

    writing, reading = peaks(WEIGHTS, tmp_path)
    print(f"extra blocks: writing {writing / BLOCK_BYTES:.2f}, reading {reading / BLOCK_BYTES:.2f}")
    assert writing < 1.5 * BLOCK_BYTES
    assert reading < 1.5 * BLOCK_BYTES
