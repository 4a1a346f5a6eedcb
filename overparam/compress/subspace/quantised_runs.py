"""What quantised coordinates cost in accuracy, beside full networks that are quantised."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from overparam.compress.subspace.ensemble import SubspaceEnsemble
from overparam.compress.subspace.model import SubspaceModel
from overparam.compress.subspace.quantise import QuantisedVector
from overparam.compress.subspace.storage import load_subspace, save_subspace
from overparam.datasets import TrainTest
from overparam.measure import mdl_upper_bound
from overparam.models import count_parameters
from overparam.training import Ensemble, accuracy, cross_entropy, predict

EXACT_BITS = 32


def quantise_runs(
    model: nn.Module, data: TrainTest, runs: pd.DataFrame, bits: Sequence[int], *, seed: int
) -> pd.DataFrame:
    """Accuracy, size and description length of trained coordinates at 32 and fewer bits.

    Args:
        model: the architecture.
        data: what the runs were trained on.
        runs: rows of :func:`train_subspaces`, of one projection and this seed.
        bits: numbers of bits, each in 2..16.

    Returns:
        A row per run and number of bits: dim, lr, bits, size_bytes, ratio (``32 D / (d b + 64)``),
        train_acc, test_acc, mdl_bits (of the training labels).
    """
    cells = runs.merge(pd.Series((EXACT_BITS, *bits), name="bits"), how="cross")
    (projection,) = cells["projection"].unique()
    ensemble = SubspaceEnsemble(model, cells["dim"].tolist(), projection, seed=seed, init_seed=seed)
    pairs = zip(cells["v"], cells["bits"], strict=True)
    ensemble.set_coordinates([_at_bits(v, b) for v, b in pairs])
    logits = predict(ensemble, data.x, shared=True)
    losses = cross_entropy(logits, data.y.expand(ensemble.size, -1)).tolist()
    codes = [
        mdl_upper_bound(
            int(row.dim),  # type: ignore[arg-type]
            mean_loss=loss,
            examples=len(data.y),
            bits=int(row.bits),  # type: ignore[arg-type]
            full_dim=int(row.D),  # type: ignore[arg-type]
        )
        for row, loss in zip(cells.itertuples(), losses, strict=True)
    ]
    scales = 32 * (cells["bits"] < EXACT_BITS)
    return cells[["dim", "lr", "bits"]].assign(
        size_bytes=-(-(cells["dim"] * cells["bits"] + 64 + scales) // 8),
        ratio=[code.compression_ratio for code in codes],  # type: ignore[misc]
        train_acc=accuracy(ensemble, data.x, data.y).numpy(),
        test_acc=accuracy(ensemble, data.x_test, data.y_test).numpy(),
        mdl_bits=[code.bits for code in codes],
    )


def _at_bits(v: Sequence[float], bits: int) -> Tensor:
    exact = torch.tensor(v, dtype=torch.float32)
    return exact if bits == EXACT_BITS else QuantisedVector.of(exact, bits).dequantise()


@torch.no_grad()
def round_trip_error(model: nn.Module, run: pd.Series, x: Tensor, *, seed: int) -> float:
    """Largest difference of logits on x after a trained run was saved to a file and loaded.

    Args:
        model: the architecture.
        run: one row of :func:`train_subspaces`.
        x: inputs (N, ...).
        seed: of the run.
    """
    dim = int(run["dim"])
    wrapped = SubspaceModel(model, dim, run["projection"], seed=seed, init_seed=seed).eval()
    wrapped.set_coordinates(_at_bits(run["v"], EXACT_BITS))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "subspace.safetensors"
        save_subspace(wrapped, path)
        loaded = load_subspace(path, model).eval()
    return float((wrapped(x) - loaded(x)).abs().max())


def quantise_full(
    models: Sequence[nn.Module], data: TrainTest, bits: Sequence[int], *, seeds: Sequence[int]
) -> pd.DataFrame:
    """Accuracy of full networks whose weights are all quantised by one scale: the plain rival.

    Args:
        models: trained networks of one architecture.
        data: shared by all, or of each of them.
        bits: numbers of bits, each in 2..16.
        seeds: of the networks.

    Returns:
        A row per model and number of bits: bits, size_bytes, ratio (``32 D / (D b + 64)``),
        test_acc, seed.
    """
    tables = []
    for width in bits:
        rounded = [_rounded(model, width) for model in models]
        full_dim = count_parameters(models[0])
        tables.append(
            pd.DataFrame(
                {
                    "bits": width,
                    "size_bytes": -(-(full_dim * width + 96) // 8),
                    "ratio": 32 * full_dim / (full_dim * width + 64),
                    "test_acc": accuracy(Ensemble(rounded), data.x_test, data.y_test).numpy(),
                    "seed": list(seeds),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _rounded(model: nn.Module, bits: int) -> nn.Module:
    plain = SubspaceModel(model, 1, "coordinates", seed=0)
    theta = QuantisedVector.of(plain.theta0, bits).dequantise()
    plain.theta0.copy_(theta)
    return plain.materialise()
