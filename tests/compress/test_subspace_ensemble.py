"""Several d of one seed in one program: the same paths as models of their own d."""

from functools import partial
from typing import get_args

import pytest
import torch
from torch import nn

from overparam.compress.subspace import ProjectionKind, SubspaceEnsemble, SubspaceModel
from overparam.models import MLP
from overparam.training import Ensemble, batch_orders, fit

KINDS = get_args(ProjectionKind)


def samples(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=dtype)
    return x, (x.sum(1) > 0).long()


def train(ensemble: Ensemble, epochs: int = 5) -> torch.Tensor:
    x, y = samples()
    trace = fit(
        ensemble, x, y, epochs=epochs, batch_size=10,
        optimizer=partial(torch.optim.Adam, lr=0.1), orders=batch_orders(40, epochs, (3,)),
    )  # fmt: skip
    return trace.train_loss


@pytest.mark.parametrize("kind", KINDS)
def test_each_member_follows_the_path_of_its_own_subspace_model(kind: ProjectionKind) -> None:
    dims = (5, 5) if kind == "sparse" else (3, 12, 7)
    base = MLP((6, 8, 2)).double()
    nested = SubspaceEnsemble(base, dims, kind, seed=4, init_seed=2)
    losses = train(nested)
    for index, dim in enumerate(dims):
        alone = Ensemble([SubspaceModel(base, dim, kind, seed=4, init_seed=2)])
        assert torch.allclose(losses[index], train(alone)[0], rtol=1e-9, atol=0)
        assert torch.allclose(
            nested.coordinates()[index], alone.parameters["v"][0], rtol=1e-7, atol=1e-9
        )


def test_coordinates_beyond_d_stay_zero_and_others_move() -> None:
    nested = SubspaceEnsemble(MLP((6, 8, 2)).double(), (3, 12), "dense", seed=0)
    train(nested)
    v = nested.parameters["v"].detach()
    assert (v[0, 3:] == 0).all() and (v[0, :3] != 0).all() and (v[1] != 0).all()


def test_members_are_plain_models_with_the_same_outputs_and_buffers() -> None:
    base = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)).double()
    base[0].bias.requires_grad_(False)
    nested = SubspaceEnsemble(base, (4, 9), "fastfood", seed=1)
    train(nested, epochs=2)
    x, _ = samples()
    outputs = nested(x, shared=True)
    for output, member in zip(outputs, nested.members(), strict=True):
        assert torch.allclose(member(x), output, rtol=1e-12)
        assert torch.equal(member[0].bias, base[0].bias)
    assert nested.state(1)["1.running_mean"].abs().max() > 0
    with pytest.raises(IndexError, match="member 2"):
        nested.state(2)


def test_coordinates_come_back() -> None:
    nested = SubspaceEnsemble(MLP((6, 8, 2)), (2, 5), "dense", seed=0)
    values = [torch.tensor([1.0, -2.0]), torch.arange(5.0)]
    nested.set_coordinates(values)
    assert all(torch.equal(a, b) for a, b in zip(nested.coordinates(), values, strict=True))
    offset = nested.theta() - nested._theta0
    own = SubspaceModel(MLP((6, 8, 2)), 2, "dense", seed=0).projection
    assert torch.allclose(offset[0], own.matvec(values[0]), atol=1e-6)
    with pytest.raises(ValueError, match="values must have shapes"):
        nested.set_coordinates(values[::-1])


@pytest.mark.parametrize(
    ("dims", "kind", "message"),
    [
        ((), "dense", "dims must hold at least one"),
        ((3, 0), "dense", ">= 1"),
        ((3, 4), "sparse", "share no columns"),
        ((3, 99), "fastfood", "dim must lie in"),
    ],
)
def test_bad_dims(dims, kind, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SubspaceEnsemble(MLP((6, 8, 2)), dims, kind, seed=0)
