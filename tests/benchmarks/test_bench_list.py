"""``overparam list`` against a process that imports Typer, timed in turn."""

import re
import statistics
import subprocess
import sys
import time

import pytest

from overparam.studies import catalogue

LIMIT = 5.0
ROUNDS = 15
SIXTY = 60
LISTING = "import sys; sys.argv = ['overparam', 'list']; from flows.cli import main; main()"


def seconds(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120)
    return time.perf_counter() - start


def hold_against_typer(listing, what, benchmark, capsys):
    """Median times of a listing and of an import, and their ratio, which is bounded."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(listing))
        theirs.append(seconds("import typer"))
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    ratio = ours / theirs
    benchmark.extra_info["ratio"] = ratio
    benchmark.pedantic(lambda: seconds(listing), rounds=1)
    with capsys.disabled():
        print(
            f"\n{what} {ours:.3f} s, import typer {theirs:.3f} s, ratio {ratio:.2f} "
            f"(at most {LIMIT:g})"
        )
    assert ratio <= LIMIT


@pytest.mark.benchmark
def test_list_against_import_typer(benchmark, capsys):
    hold_against_typer(LISTING, "overparam list", benchmark, capsys)


@pytest.mark.benchmark
def test_list_of_sixty_studies(benchmark, capsys, tmp_path):
    """Copies of the studies there are, under other names, until there are sixty."""
    there = catalogue.entries()
    for number in range(SIXTY):
        entry = there[number % len(there)]
        copy = tmp_path / entry.theme / f"copy_{number}.py"
        copy.parent.mkdir(exist_ok=True)
        name = f'"{entry.study}"'
        text = re.sub(re.escape(name), f'"copy-{number}"', entry.file.read_text(), count=1)
        copy.write_text(text)
    listing = (
        f"from overparam.studies import catalogue; catalogue.__file__ = {str(tmp_path / 'c')!r}; "
        + LISTING
    )
    shown = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True, timeout=120
    )
    assert "copy-0" in shown.stdout and f"copy-{SIXTY - 1}" in shown.stdout
    hold_against_typer(listing, f"overparam list of {SIXTY} studies", benchmark, capsys)
