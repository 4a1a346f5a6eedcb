"""A toy study of all five stages and a spread that runs in well under a second per cell."""

import time
from typing import ClassVar

import numpy as np
import pandas as pd

from overparam.evidence import by_seed, paired_difference
from overparam.study import Field, Paper, Study, StudyConfig


class Config(StudyConfig):
    flips: int = Field(50, ge=1, description="flips per coin")
    bias: float = Field(0.9, gt=0, lt=1, description="chance of heads of the loaded coin")
    coins: tuple[str, ...] = Field(("loaded", "fair"), description="which coins")
    keep: int = Field(20, ge=1, description="flips that compression keeps")
    fail: str = Field("", description="step that fails on purpose, for tests of failure")
    profiles: ClassVar = {"quick": {"flips": 50}, "full": {"flips": 500}}


study = Study(
    "coin",
    theme="toys",
    config=Config,
    question="Does a loaded coin show more heads than a fair one?",
    paper=Paper(title="On Coins", authors="A. Flipper", year=1713, venue="Ars Conjectandi"),
)


@study.generate
def chances(*, bias):
    return pd.DataFrame({"coin": ["loaded", "fair"], "chance": [bias, 0.5]})


@study.train(each={"coin": "coins", "seed": "seeds"}, batch=3, timeout=60)
def flipped(chances, *, coin, seeds, flips, fail, progress):
    chance = chances["chances"].set_index("coin").loc[coin, "chance"]
    rows = []
    for seed in progress(seeds, description="flips"):
        if fail == f"{coin}-{seed}":
            raise RuntimeError("told to fail")
        generator = np.random.Generator(np.random.Philox(key=seed))
        rows.append(pd.DataFrame({"seed": seed, "head": generator.random(flips) < chance}))
    started = time.perf_counter()
    return {"flips": pd.concat(rows, ignore_index=True).assign(seconds=started)}


@study.compress(each={"coin": "coins", "seed": "seeds"})
def shortened(flipped, *, coin, seed, keep):
    return flipped["flips"].head(keep)[["head"]]


@study.evaluate
def shares(flipped, shortened):
    whole = flipped["flips"].groupby(["coin", "seed"], sort=False)["head"].mean()
    short = shortened["shortened"].groupby(["coin", "seed"], sort=False)["head"].mean()
    return pd.DataFrame({"whole": whole, "short": short}).reset_index()


@study.claim("A loaded coin shows more heads", source="Part IV", arm="loaded", control="fair")
def loaded_shows(shares, *, arm):
    ours, fair = (by_seed(shares["shares"], "whole", coin=coin) for coin in (arm, "fair"))
    return paired_difference(ours, fair, region=(0.1, None))


@study.figure("Share of heads")
def heads(shares):
    import altair as alt

    return alt.Chart(shares["shares"]).mark_point().encode(x="coin:N", y="whole:Q")
