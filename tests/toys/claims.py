"""A toy study with a claim for every kind of verdict."""

from typing import ClassVar

import numpy as np
import pandas as pd

from overparam.evidence import exact, mean, paired_difference
from overparam.study import Field, Paper, Study, StudyConfig, permuted


class Config(StudyConfig):
    spread: float = Field(0.1, ge=0, description="noise of the measurements")
    profiles: ClassVar = {"quick": {}, "full": {"seeds": 20}}


study = Study(
    "claims",
    theme="toys",
    config=Config,
    question="Which verdicts are there?",
    paper=Paper(title="On Verdicts", authors="J. Udge", year=1900),
)


@study.generate
def measured(*, spread, seeds):
    rows = []
    for seed in seeds:
        generator = np.random.Generator(np.random.Philox(key=seed))
        noise = spread * generator.standard_normal(4)
        for method, value, extra in zip(
            ("better", "plain", "twin", "worse"), (1.0, 0.0, 1.0, -1.0), noise, strict=True
        ):
            rows.append({"seed": seed, "method": method, "value": value + extra})
    return pd.DataFrame(rows)


def gain(measured, arm):
    table = measured["measured"].pivot(index="seed", columns="method", values="value")
    return table[arm], table["plain"]


@study.claim("Better is better", source="Table 1", arm="better", control="plain")
def held(measured, *, arm):
    return paired_difference(*gain(measured, arm), region=(0.5, None))


@study.claim("Worse is better", source="Table 2", arm="worse", control="plain")
def refuted(measured, *, arm):
    return paired_difference(*gain(measured, arm), region=(0.5, None))


@study.claim("Better beats its twin", source="Table 3", arm="better", control="twin")
def void(measured, *, arm):
    return paired_difference(*gain(measured, arm), region=(0.5, None))


@study.claim("Better in full", source="Table 4", arm="better", control="plain", decided_at="full")
def later(measured, *, arm):
    return paired_difference(*gain(measured, arm), region=(0.5, None))


@study.claim("Labels matter", source="none", arm="better", control=permuted("method"))
def labelled(measured, *, arm):
    return paired_difference(*gain(measured, arm), region=(0.8, None))


@study.claim("Exactly so", source="Lemma 1", arm="1", control="0")
def certain(measured, *, arm):
    return exact(float(arm), region=(1.0, 1.0))


@study.claim("Both hold", source="Table 5", arm="better", control="worse")
def both(measured, *, arm):
    value, plain = gain(measured, arm)
    return [mean(value, region=(0.5, None)), paired_difference(value, plain, region=(0.5, None))]
