"""A toy study whose cells misbehave in ways that a step should not, each of them in its own."""

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from overparam.study import Field, Study, StudyConfig

How = Literal[
    "fine",
    "loud",
    "shout",
    "mute",
    "leak",
    "killed",
    "quit",
    "interrupt",
    "mixed",
    "unlike",
    "unnamed",
    "nothing",
    "object",
    "late",
]
Stall = Literal["fine", "hang", "deaf", "freeze"]
MEGABYTE = 1 << 20


class Config(StudyConfig):
    hows: tuple[How, ...] = Field(("fine",), description="what each cell does")
    stalls: tuple[Stall, ...] = Field(("fine",), description="how each cell does not end")
    megabytes: int = Field(100, ge=1, description="how much is printed or shouted")
    profiles: ClassVar = {"quick": {}, "full": {}}


study = Study("mischief", theme="toys", config=Config, question="Does one bad cell stay alone?")


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words for it")


def batches(*arrays):
    for array in arrays:
        yield pa.record_batch({"value": array})


def late():
    yield pa.record_batch({"value": [1.0]})
    raise ValueError("the second batch could not be made")


@study.generate(each={"how": "hows"}, timeout=120)
def act(*, how, megabytes):
    match how:
        case "loud":
            for _ in range(megabytes):
                sys.stdout.write("x" * (MEGABYTE - 1) + "\n")
                os.write(2, b"y" * 1000 + b"\n")
            print("and a last word", flush=True)
        case "shout":
            raise ValueError("a very long story: " + "x" * (megabytes * MEGABYTE))
        case "mute":
            raise Unspeakable
        case "leak":
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 200 * MEGABYTE,) * 2)
            kept = []
            while True:
                kept.append(bytearray(10 * MEGABYTE))
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "quit":
            sys.exit("had enough")
        case "interrupt":
            raise KeyboardInterrupt
        case "mixed":
            return pd.DataFrame({"value": [1.0, "two"]})
        case "unlike":
            return batches([1.0], ["two"])
        case "unnamed":
            return {"../../escape": pd.DataFrame({"value": [1.0]})}
        case "nothing":
            return None
        case "object":
            return pd.DataFrame({"value": [np.random.Generator]})
        case "late":
            return late()
    return pd.DataFrame({"value": [1.0]})


@study.train(each={"stall": "stalls"}, timeout=5)
def rest(*, stall):
    if stall == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if stall == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    if stall != "fine":
        time.sleep(600)
    return pd.DataFrame({"value": [1.0]})


@study.evaluate(partial=True)
def survivors(act):
    return act["act"]
