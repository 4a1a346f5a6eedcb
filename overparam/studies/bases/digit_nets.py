"""Base: small networks pretrained on the scikit-learn digits in eight orientations, 80 classes.

A study that starts from them names the step and takes the weights of its family and seed::

    from overparam.studies.bases.digit_nets import network, pretrained

    @study.train(each={"family": "families", "seed": "seeds"}, batch=16,
                 reads={"base": pretrained})
    def tuned(base, *, family, seeds):
        nets = stored_members(partial(network, family), base, "weights", seeds)
"""

from functools import partial
from typing import ClassVar, Literal

import torch
from torch import nn

from overparam.datasets import DIGITS_FILE, digit_source, member_samples, samples_table
from overparam.models import (
    ResidualMLP,
    TinyConvNeXt,
    TinyViT,
    count_parameters,
    seeded,
)
from overparam.store import Weights
from overparam.study import DataFile, Field, Study, StudyConfig
from overparam.training import Ensemble, batch_orders, cosine, fit, run_table

NETWORKS = {"mlp": ResidualMLP, "convnext": TinyConvNeXt, "vit": TinyViT}
Family = Literal["mlp", "convnext", "vit"]
IMAGE = (1, 8, 8)
CLASSES = 80


class Config(StudyConfig):
    families: tuple[Family, ...] = Field(
        ("mlp", "convnext", "vit"), description="architectures to pretrain"
    )
    digits_file: DataFile = Field(DIGITS_FILE, description="scikit-learn's digits")
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
def source(*, seed, digits_file):
    """The source task of a seed, on digits that the seed's target tasks don't have."""
    return samples_table({seed: digit_source(seed, digits_file).parts})


@study.train(each={"family": "families", "seed": "seeds"}, batch=16)
def pretrained(
    source, *, family, seeds, epochs, vit_epochs, batch_size, learning_rate, weight_decay,
    progress, checkpoint,
):  # fmt: skip
    """One network per seed, as one ensemble: ``weights``, and accuracies on the source task."""
    train, test = (member_samples(source, seeds, p, name="source") for p in ("train", "test"))
    (x, y) = train
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
    runs = run_table(nets, trace, seeds, train=train, test=test)
    return {
        "runs": runs.assign(params=count_parameters(network(family)), steps=trace.steps),
        "weights": Weights.by_seed(seeds, nets.states()),
    }
