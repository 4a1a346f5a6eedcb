"""Base: small networks pretrained on the scikit-learn digits in eight orientations, 80 classes.

A study that starts from them names the step and takes the weights of its family and seed::

    from overparam.studies.bases.digit_nets import network, pretrained

    @study.train(each={"family": "families", "seed": "seeds"}, batch=16,
                 reads={"base": pretrained})
    def tuned(base, *, family, seeds):
        nets = [with_weights(network(family), base.weights("weights", seed=s)) for s in seeds]
"""

from functools import partial
from typing import ClassVar, Literal

import pandas as pd
import pyarrow as pa
import torch
from torch import nn

from overparam.datasets import digit_source, member_samples
from overparam.models import (
    ResidualMLP,
    TinyConvNeXt,
    TinyViT,
    count_parameters,
    seeded,
)
from overparam.store import Weights, tensor_column
from overparam.study import Field, Study, StudyConfig
from overparam.training import Ensemble, accuracy, batch_orders, cosine, fit

NETWORKS = {"mlp": ResidualMLP, "convnext": TinyConvNeXt, "vit": TinyViT}
Family = Literal["mlp", "convnext", "vit"]
IMAGE = (1, 8, 8)
CLASSES = 80


class Config(StudyConfig):
    families: tuple[Family, ...] = Field(
        ("mlp", "convnext", "vit"), description="architectures to pretrain"
    )
    epochs: int = Field(12, ge=1, description="epochs of the MLP and the ConvNeXt")
    vit_epochs: int = Field(20, ge=1, description="epochs of the transformer, which learns slowly")
    batch_size: int = Field(64, ge=1, description="images per step")
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW; warm-up, then half a cosine")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    profiles: ClassVar = {
        "quick": {
            "families": ("mlp",),
            "epochs": 9,
            "batch_size": 256,
            "learning_rate": 5e-3,
            "seeds": 1,
        },
        "full": {},
    }


study = Study(
    "digit-nets",
    theme="bases",
    config=Config,
    question="Networks pretrained to tell digit and orientation of 8 x 8 images, for studies of "
    "transfer to start from.",
)


def network(family: Family, classes: int = CLASSES) -> nn.Module:
    """An untrained network of a family; inputs (B, 1, 8, 8)."""
    return NETWORKS[family](classes=classes)


@study.generate(each={"seed": "seeds"})
def source(*, seed):
    """The source task of a seed, on digits that the seed's target tasks don't have."""
    task = digit_source(seed)
    parts = [("train", task.train), ("test", task.test)]
    return pa.concat_tables(
        [
            pa.table(
                {"part": pa.repeat(part, len(s.y)), "x": tensor_column(s.x), "y": pa.array(s.y)}
            )
            for part, s in parts
        ]
    )


@study.train(each={"family": "families", "seed": "seeds"}, batch=16)
def pretrained(
    source, *, family, seeds, epochs, vit_epochs, batch_size, learning_rate, weight_decay,
    progress, checkpoint,
):  # fmt: skip
    """One network per seed, as one ensemble: ``weights``, and accuracies on the source task."""
    (x, y), (x_test, y_test) = (
        map(torch.from_numpy, member_samples(source, seeds, part, name="source"))
        for part in ("train", "test")
    )
    epochs = vit_epochs if family == "vit" else epochs
    nets = Ensemble([seeded(partial(network, family), seed) for seed in seeds])
    trace = fit(
        nets,
        x,
        y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.AdamW, lr=learning_rate, weight_decay=weight_decay),
        schedule=cosine(warmup=epochs // 20),
        orders=batch_orders(x.shape[1], epochs, seeds),
        progress=progress,
        checkpoint=checkpoint,
    )
    runs = {
        "seed": seeds,
        "params": count_parameters(network(family)),
        "train_acc": accuracy(nets, x, y).numpy(),
        "test_acc": accuracy(nets, x_test, y_test).numpy(),
        "train_loss": trace.train_loss[:, -1].numpy(),
        "steps": trace.steps,
        "diverged": trace.diverged.numpy(),
    }
    return {
        "runs": pd.DataFrame(runs),
        "weights": Weights.stack([({"seed": s}, nets.state(i)) for i, s in enumerate(seeds)]),
    }
