"""A toy study whose cells go wrong in all the ways that a step can."""

import ctypes
import os
import time
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from overparam.evidence import mean
from overparam.study import Diverged, Field, Paper, Study, StudyConfig

How = Literal[
    "fine",
    "good",
    "well",
    "raise",
    "diverge",
    "hang",
    "exit",
    "exit-once",
    "segfault",
    "slow",
    "io",
    "nonsense",
]


class Config(StudyConfig):
    hows: tuple[How, ...] = Field(("fine", "good", "well"), description="what each cell does")
    marker: str = Field("", description="folder in which an attempt leaves its mark")
    profiles: ClassVar = {"quick": {}, "full": {}}


study = Study(
    "trouble",
    theme="toys",
    config=Config,
    question="What happens to the others when one cell fails?",
    paper=Paper(title="On Trouble", authors="A. Murphy", year=1949, doi="10.1000/182"),
)


@study.generate(each={"how": "hows"}, timeout=8)
def mishap(*, how, marker, progress):
    for _ in progress(range(2), description=how):
        pass
    if marker:
        with (Path(marker) / how).open("a") as file:
            file.write("x")
    if how == "slow":
        for _ in progress(range(6), description="slowly"):
            time.sleep(0.5)
    if how == "raise":
        raise ValueError("a value that is not allowed")
    if how == "diverge":
        raise Diverged("the loss left the finite numbers at step 3")
    if how == "hang":
        time.sleep(600)
    if how == "exit":
        os._exit(3)
    if how == "exit-once" and (Path(marker) / how).stat().st_size == 1:
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "io" and (Path(marker) / how).stat().st_size == 1:
        raise ConnectionResetError("the connection was reset, this once")
    if how == "nonsense":
        return 3
    return pd.DataFrame({"value": [1.0]})


@study.train(each={"how": "hows"})
def strict(mishap, *, how):
    return mishap["mishap"].assign(value=2.0)


@study.evaluate(partial=True)
def survivors(mishap):
    return mishap["mishap"]


@study.evaluate
def complete(strict):
    return strict["strict"]


@study.claim("Some survive", source="folklore", arm="1", control="0")
def some_survive(survivors, *, arm):
    return mean(survivors["survivors"]["value"] * float(arm), region=(0.5, None))
