"""What a shared model stores, and how evenly its memory is used."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from overparam.compress.shared_model import SharedModel


@dataclass(frozen=True)
class SharingReport:
    """Memory of a shared model.

    Attributes:
        virtual: n, the weights the network computes with.
        real: m, the numbers that stand for them.
        unshared: trainable numbers outside (biases, norms).
        compression: n / m.
        loads: virtual weights per bucket, int64 (m,).
        histogram: number of buckets with load 0, 1, 2, ..., int64.
        max_load: virtual weights in the fullest bucket.
        empty_fraction: part of the buckets that no weight uses.
        index_bits: stored bits of positions per real weight; 0, since the hash gives them.
        description_bits: bits for what the map follows from, hash coefficients and layer scales.
    """

    virtual: int
    real: int
    unshared: int
    compression: float
    loads: Tensor
    histogram: Tensor
    max_load: int
    empty_fraction: float
    index_bits: int
    description_bits: int


def sharing_report(model: SharedModel) -> SharingReport:
    """Count what ``model`` stores and how its buckets are loaded.

    Raises:
        TypeError: ``model`` does not come from ``share_parameters``.

    Example:
        >>> from overparam.compress.sharing import share_parameters
        >>> sharing_report(share_parameters(torch.nn.Linear(10, 10), 4, seed=0)).histogram.tolist()
        [0, 0, 0, 0, 25]
    """
    if not isinstance(model, SharedModel):
        raise TypeError(f"model must be a SharedModel, got {type(model).__name__}")
    m = model.layout.m
    loads = torch.zeros(m, dtype=torch.int64, device=model.shared.device)
    for tensor in range(len(model.slots)):
        loads += model.bucket_index(tensor).bincount(minlength=m)
    description = (model.hash_coefficients, model.layer_scale)
    return SharingReport(
        virtual=model.layout.n,
        real=m,
        unshared=sum(p.numel() for p in model.parameters() if p.requires_grad) - m,
        compression=model.layout.n / m,
        loads=loads,
        histogram=loads.bincount(),
        max_load=int(loads.max()),
        empty_fraction=float((loads == 0).double().mean()),
        index_bits=0,
        description_bits=sum(8 * t.numel() * t.element_size() for t in description),
    )


def load_table(models: Sequence[SharedModel], seeds: Sequence[int]) -> pd.DataFrame:
    """How many buckets of each model have which load, as the table that a step returns.

    Args:
        models: shared models.
        seeds: one per model.

    Returns:
        Columns load, buckets (how many have it, at least one), seed; of a seed the commonest load
        first.

    Raises:
        TypeError: a model that does not come from ``share_parameters``.
        ValueError: not one seed per model, or no model.

    Example:
        >>> from overparam.compress.sharing import share_parameters
        >>> load_table([share_parameters(torch.nn.Linear(10, 10), 4, seed=7)], [7]).values.tolist()
        [[4, 25, 7]]
    """
    if len(models) != len(seeds) or not models:
        raise ValueError(f"models has {len(models)} entries, seeds {len(seeds)}; give one for each")
    tables = []
    for model, seed in zip(models, seeds, strict=True):
        loads = pd.Series(sharing_report(model).loads.cpu().numpy(), name="load")
        tables.append(loads.value_counts().reset_index(name="buckets").assign(seed=seed))
    return pd.concat(tables, ignore_index=True)
