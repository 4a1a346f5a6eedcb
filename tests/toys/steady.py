"""A toy study of all five stages whose tables are the same in every run, to be disturbed.

Weights, a checkpoint, batches and several tables per artifact: every way in which a run writes.
"""

import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from overparam.evidence import paired_difference
from overparam.store import Weights
from overparam.study import Field, Paper, Study, StudyConfig


class Config(StudyConfig):
    size: int = Field(12, ge=2, description="number of points, and of weights over two")
    steps: int = Field(20, ge=1, description="steps of descent")
    keeps: tuple[int, ...] = Field((4, 24), description="how many weights stay")
    rows: int = Field(100, ge=1, description="rows of noise beside each result, for size")
    hold: str = Field("", description="seed 2 trains while this file exists")
    profiles: ClassVar = {"quick": {"seeds": 3}, "full": {"seeds": 4}}


study = Study(
    "steady",
    theme="toys",
    config=Config,
    question="Do the largest weights suffice?",
    paper=Paper(title="On Steadiness", authors="A. Rock", year=1805),
)


def noise(key, rows):
    generator = np.random.Generator(np.random.Philox(key=key))
    return pd.DataFrame({"noise": generator.standard_normal(rows)})


@study.generate
def points(*, size, rows):
    generator = np.random.Generator(np.random.Philox(key=1))
    inputs = generator.standard_normal((size, 2 * size))
    columns = {f"x{k}": inputs[:, k] for k in range(2 * size)}
    return {
        "inputs": pd.DataFrame(columns),
        "targets": pd.DataFrame({"y": inputs[:, 0] - inputs[:, 1]}),
        "noise": noise(1, rows),
    }


@study.train(each={"seed": "seeds"})
def fitted(points, *, seed, steps, rows, hold, progress, checkpoint):
    inputs = torch.tensor(points["inputs"].to_numpy())
    targets = torch.tensor(points["targets"]["y"].to_numpy())
    generator = torch.Generator().manual_seed(seed)
    weight = 0.1 * torch.randn(inputs.shape[1], generator=generator, dtype=torch.float64)
    losses = []
    saved = checkpoint.load()
    if saved is not None:
        weight, losses = saved["weight"], list(saved["losses"])
    for step in progress(range(len(losses), steps), description="descent"):
        residual = inputs @ weight - targets
        losses.append(float(residual.square().mean()))
        weight = weight - 0.02 * inputs.T @ residual
        if step % 10 == 9:
            checkpoint.save({"weight": weight, "losses": losses})
    while hold and seed == 2 and Path(hold).exists():
        Path(hold).with_suffix(".reached").touch()
        time.sleep(0.05)
    return {
        "net": Weights({"weight": weight}),
        "losses": pd.DataFrame({"step": range(steps), "loss": losses}),
        "noise": noise(2 + seed, rows),
    }


@study.compress(each={"keep": "keeps", "seed": "seeds"}, batch=2)
def pruned(fitted, *, keep, seeds, rows):
    frames = []
    for seed in seeds:
        weight = fitted.weights("net", seed=seed)["weight"].numpy()
        smallest = np.argsort(np.abs(weight), kind="stable")[: max(0, len(weight) - keep)]
        weight[smallest] = 0
        frames.append(pd.DataFrame({"seed": seed, "weight": weight}))
    table = pd.concat(frames, ignore_index=True)
    blocks = [noise(1000 + keep + seed, rows).assign(seed=seed) for seed in seeds]
    return {"pruned": table, "noise": pd.concat(blocks, ignore_index=True)}


@study.evaluate
def errors(points, pruned, *, rows):
    inputs, targets = points["inputs"].to_numpy(), points["targets"]["y"].to_numpy()
    found = [
        {"keep": keep, "seed": seed, "error": np.mean((inputs @ part["weight"] - targets) ** 2)}
        for (keep, seed), part in pruned["pruned"].groupby(["keep", "seed"], sort=True)
    ]
    return {"errors": pd.DataFrame(found), "noise": noise(3, rows)}


@study.claim("All weights fit better than few", source="Lemma 2", arm="24", control="4")
def all_fit_better(errors, *, arm):
    table = errors["errors"].pivot(index="seed", columns="keep", values="error")
    return paired_difference(table[4], table[int(arm)], region=(0.05, None))


@study.figure("Error by weights kept")
def errors_kept(errors):
    import altair as alt

    return alt.Chart(errors["errors"]).mark_point().encode(x="keep:Q", y="error:Q")
