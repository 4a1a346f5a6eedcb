"""A cached rerun of a five-step study against five cached no-op tasks of Prefect.

Both are processes of their own that talk to one running server, timed in turn, so that a busy
machine slows both. ``dvc repro`` of five unchanged stages takes 0.9 s where importing prefect alone
takes 1.0 s and torch 1.5 s: those two imports are timed beside it.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

LIMIT = 1.5
ROUNDS = 5
PATIENCE = 280

STUDY = '''
"""Five steps, one of each stage and a second evaluation."""
import pandas as pd
from overparam.evidence import exact
from overparam.study import Paper, Study, StudyConfig

study = Study("five", theme="toys", config=StudyConfig, question="How long does nothing take?",
              paper=Paper(title="On Nothing", authors="N. Obody", year=2000))

@study.generate
def made(*, seeds):
    return pd.DataFrame({"seed": seeds})

@study.train
def trained(made):
    return made["made"]

@study.compress
def compressed(trained):
    return trained["trained"]

@study.evaluate
def measured(compressed):
    return compressed["compressed"]

@study.evaluate
def compared(trained, measured):
    return measured["measured"]

@study.claim("Nothing happens", source="none", arm="1", control="0")
def nothing(compared, *, arm):
    return exact(float(arm), region=(1.0, None))
'''

RERUN = "import sys; from flows.cli import main; main()"

BASELINE = """
import torch
from prefect import flow, task
from prefect.states import Completed

@task(persist_result=False)
def step():
    return Completed(name="Cached")

@flow(persist_result=False)
def five():
    for _ in range(5):
        step()

five()
"""


def seconds(code, *words):
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "CRITICAL"},
    )
    taken = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    return taken, done.stdout


@pytest.mark.benchmark
def test_cached_rerun_against_five_empty_tasks(benchmark, prefect_api, tmp_path, capsys):
    file = tmp_path / "five.py"
    file.write_text(STUDY)
    words = ("run", file, "--store", Path(tmp_path, "store"), "--workers", "1")
    seconds(RERUN, *words)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        taken, out = seconds(RERUN, *words)
        assert "6 cached" in out
        ours.append(taken)
        theirs.append(seconds(BASELINE)[0])
    imports = {
        name: statistics.median(seconds(f"import {name}")[0] for _ in range(3))
        for name in ("prefect", "torch")
    }
    ratio = statistics.median(ours) / statistics.median(theirs)
    benchmark.extra_info |= {"ratio": ratio, "baseline": statistics.median(theirs), **imports}
    benchmark.pedantic(lambda: seconds(RERUN, *words), rounds=1)
    with capsys.disabled():
        print(
            f"\ncached rerun {statistics.median(ours):.2f} s, five no-op tasks "
            f"{statistics.median(theirs):.2f} s, ratio {ratio:.2f} (at most {LIMIT}); "
            + ", ".join(f"import {name} {taken:.2f} s" for name, taken in imports.items())
        )
    assert ratio <= LIMIT
