"""``overparam list`` against a process that imports Typer, timed in turn."""

import statistics
import subprocess
import sys
import time

import pytest

LIMIT = 5.0
ROUNDS = 15


def seconds(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120)
    return time.perf_counter() - start


@pytest.mark.benchmark
def test_list_against_import_typer(benchmark, capsys):
    listing = "import sys; sys.argv = ['overparam', 'list']; from flows.cli import main; main()"
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(listing))
        theirs.append(seconds("import typer"))
    ratio = statistics.median(ours) / statistics.median(theirs)
    benchmark.extra_info["ratio"] = ratio
    benchmark.pedantic(lambda: seconds(listing), rounds=1)
    with capsys.disabled():
        print(
            f"\noverparam list {statistics.median(ours):.3f} s, import typer "
            f"{statistics.median(theirs):.3f} s, ratio {ratio:.2f} (at most {LIMIT:g})"
        )
    assert ratio <= LIMIT
