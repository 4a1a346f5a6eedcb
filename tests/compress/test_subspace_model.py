"""The wrapped model: what it computes, what it trains, what it leaves alone."""

from copy import deepcopy
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from overparam.compress.subspace import (
    ParameterLayout,
    ProjectionKind,
    Structure,
    SubspaceModel,
    he_normal,
)
from overparam.models.group_sums import GroupSums
from overparam.theory.group_sums import group_sum_loss, group_sum_minimum, group_sum_targets
from overparam.training import Ensemble

KINDS = get_args(ProjectionKind)
STRUCTURES = get_args(Structure)


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)
    ).to(dtype)


def images(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=dtype)


def moved(wrapped: SubspaceModel, seed: int = 0) -> SubspaceModel:
    generator = torch.Generator().manual_seed(seed)
    values = 0.3 * torch.randn(wrapped.dim, generator=generator, dtype=torch.float64)
    wrapped.set_coordinates(values.to(wrapped.theta0))
    return wrapped


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_reproduces_the_model_bit_for_bit(kind, structure, dtype) -> None:
    model = network(dtype)
    before = deepcopy(model.state_dict())
    wrapped = SubspaceModel(model, 9, kind, seed=0, structure=structure)
    for mode in (True, False):
        expected = deepcopy(model).train(mode)(images(dtype))
        assert torch.equal(deepcopy(wrapped).train(mode)(images(dtype)), expected)
    wrapped(images(dtype))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_gradient_is_the_projected_full_gradient(kind, structure) -> None:
    wrapped = moved(SubspaceModel(network(), 9, kind, seed=3, structure=structure))
    plain = wrapped.materialise()
    wrapped(images()).square().sum().backward()
    plain(images()).square().sum().backward()
    full = torch.cat([p.grad.flatten() for p in plain.parameters()])
    matrix = wrapped.projection.to_dense()
    if structure == "said":
        sizes = wrapped.layout.layer_sizes
        scale = wrapped.layer_scale.detach().repeat_interleave(torch.tensor(sizes))
        raw = (matrix @ wrapped.v.detach()) * full
        expected = torch.stack([part.sum() for part in raw.split(sizes)])
        torch.testing.assert_close(wrapped.layer_scale.grad, expected)
        full = scale * full
    torch.testing.assert_close(wrapped.v.grad, matrix.T @ full)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_materialise_is_a_plain_equal_model(kind, structure) -> None:
    model = network(torch.float32)
    wrapped = moved(SubspaceModel(model, 9, kind, seed=3, structure=structure))
    wrapped(images(torch.float32))
    plain = wrapped.materialise()
    assert type(plain) is type(model)
    assert list(plain.state_dict()) == list(model.state_dict())
    assert all(isinstance(p, nn.Parameter) and p.is_leaf for p in plain.parameters())
    model.load_state_dict(plain.state_dict())
    for one in (wrapped, plain, model):
        one.eval()
    torch.testing.assert_close(plain(images(torch.float32)), wrapped(images(torch.float32)))
    assert torch.equal(plain(images(torch.float32)), model(images(torch.float32)))
    difference = ParameterLayout.of(plain).flatten(plain) - wrapped.theta0
    torch.testing.assert_close(difference, wrapped.offset().detach(), rtol=0, atol=1e-6)


def test_only_v_trains_and_buffers_live_on() -> None:
    wrapped = SubspaceModel(network(), 9, seed=0)
    assert [name for name, _ in wrapped.named_parameters()] == ["v"]
    assert wrapped.v.shape == (9,)
    theta0 = wrapped.theta0.clone()
    optimizer = torch.optim.Adam(wrapped.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        wrapped(images()).square().sum().backward()
        optimizer.step()
    assert torch.equal(wrapped.theta0, theta0)
    assert wrapped.skeleton.get_buffer("1.num_batches_tracked").item() == 3
    assert wrapped.skeleton.get_buffer("1.num_batches_tracked").dtype == torch.int64
    assert wrapped.skeleton.get_buffer("1.running_mean").abs().sum() > 0
    assert wrapped.full_dim == sum(p.numel() for p in network().parameters())


def test_said_spends_one_coordinate_per_layer() -> None:
    wrapped = SubspaceModel(network(), 9, seed=0, structure="said")
    shapes = {name: tuple(p.shape) for name, p in wrapped.named_parameters()}
    assert shapes == {"v": (6,), "layer_scale": (3,)}


def test_orthonormal_square_subspace_follows_full_gradient_descent() -> None:
    """Plain gradient descent is invariant under rotations (d = D)."""
    torch.manual_seed(0)
    full = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    size = sum(p.numel() for p in full.parameters())
    wrapped = SubspaceModel(full, size, "dense", seed=0, orthonormal=True)
    x = torch.randn(8, 5, dtype=torch.float64)
    for model in (full, wrapped):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(5):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    theta = ParameterLayout.of(full).flatten(full)
    assert (theta - wrapped.theta0).norm() > 0.1
    torch.testing.assert_close(wrapped.theta().detach(), theta, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_seeds_train_as_one_ensemble(kind, structure) -> None:
    def build(seed: int) -> SubspaceModel:
        return SubspaceModel(network(), 9, kind, seed=seed, init_seed=seed, structure=structure)

    ensemble = Ensemble([build(seed) for seed in range(3)])
    alone = [build(seed) for seed in range(3)]
    together = torch.optim.Adam(ensemble.trainable(), lr=0.1)
    singly = [torch.optim.Adam(model.parameters(), lr=0.1) for model in alone]
    for _ in range(3):
        together.zero_grad()
        ensemble(images(), shared=True).square().sum().backward()
        together.step()
        for model, optimizer in zip(alone, singly, strict=True):
            optimizer.zero_grad()
            model(images()).square().sum().backward()
            optimizer.step()
    for member, model in zip(ensemble.members(), alone, strict=True):
        torch.testing.assert_close(member.coordinates(), model.coordinates())
        torch.testing.assert_close(member.eval()(images()), model.eval()(images()))
    assert not torch.allclose(alone[0].v, alone[1].v)


def test_tied_parameters_count_once_and_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(x))

    wrapped = SubspaceModel(Tied(), 5, seed=0)
    assert wrapped.full_dim == 28
    moved(wrapped)
    plain = wrapped.materialise()
    assert plain.head.weight is plain.embed.weight
    tokens = torch.arange(7)
    torch.testing.assert_close(wrapped(tokens), plain(tokens))
    assert not torch.equal(plain(tokens), Tied()(tokens))


def test_recurrent_networks_work() -> None:
    torch.manual_seed(0)
    model = nn.LSTM(4, 3)
    wrapped = SubspaceModel(model, 5, seed=0)
    x = torch.randn(6, 2, 4)
    assert torch.equal(wrapped(x)[0], model(x)[0])
    wrapped(x)[0].sum().backward()
    assert wrapped.v.grad.abs().min() > 0
    plain = moved(wrapped).materialise()
    torch.testing.assert_close(plain(x)[0], wrapped(x)[0])


def test_frozen_parameters_stay_outside() -> None:
    model = network()
    model[0].requires_grad_(False)
    wrapped = moved(SubspaceModel(model, 9, seed=0))
    assert wrapped.full_dim == 6 + 196
    assert torch.equal(wrapped.materialise()[0].weight, model[0].weight)
    assert not wrapped.materialise()[0].weight.requires_grad


def test_forward_at_runs_a_batch_of_candidates() -> None:
    wrapped = SubspaceModel(nn.Linear(4, 2), 3, "dense", seed=0)
    candidates = torch.randn(6, 3)
    thetas = wrapped.theta0 + wrapped.projection.matvec(candidates)
    x = torch.randn(6, 5, 4)
    outputs = torch.vmap(wrapped.forward_at)(thetas, x)
    for i in range(6):
        wrapped.set_coordinates(candidates[i])
        torch.testing.assert_close(outputs[i], wrapped(x[i]))


def test_state_size() -> None:
    wrapped = SubspaceModel(nn.Linear(9, 9), 10, seed=0)
    assert wrapped.state_size_bytes() == (10 * 32 + 64) // 8
    assert wrapped.state_size_bytes(bits=4) == (10 * 4 + 64 + 32) // 8
    assert SubspaceModel(network(), 10, seed=0).state_size_bytes() == 48 + 2 * 3 * 8 + 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 0}, r"dim must lie in \[1, 232\]"),
        ({"dim": 233}, r"dim must lie in \[1, 232\]"),
        ({"dim": 2, "structure": "layerwise"}, r"dim must lie in \[3, 232\]"),
        ({"dim": 3, "structure": "said"}, r"dim must lie in \[4, 232\]"),
        ({"projection": "gaussian"}, "projection must be one of"),
        ({"structure": "rows"}, "structure must be one of"),
        ({"orthonormal": True}, "orthonormal needs projection='dense', got 'fastfood'"),
        ({"seed": -1}, "seed must lie"),
        ({"init_seed": 2**64}, "seed must lie"),
    ],
)
def test_bad_arguments(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SubspaceModel(network(), **{"dim": 9, "seed": 0, **changes})


@pytest.mark.parametrize("dim", [2.0, True, "3"])
def test_dim_is_an_integer(dim: object) -> None:
    with pytest.raises(TypeError, match="dim must be an integer"):
        SubspaceModel(network(), dim, seed=0)


def test_models_that_cannot_be_flattened() -> None:
    with pytest.raises(ValueError, match="no trainable parameters"):
        SubspaceModel(nn.ReLU(), 1, seed=0)
    with pytest.raises(ValueError, match="no trainable parameters"):
        SubspaceModel(network().requires_grad_(False), 1, seed=0)
    devices = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(ValueError, match=r"share one device, got \['cpu', 'meta'\]"):
        SubspaceModel(devices, 1, seed=0)
    dtypes = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(ValueError, match="share one dtype"):
        SubspaceModel(dtypes, 1, seed=0)


def test_set_coordinates_checks_the_shape() -> None:
    with pytest.raises(ValueError, match=r"shape \(9,\), got \(8,\)"):
        SubspaceModel(network(), 9, seed=0).set_coordinates(torch.zeros(8))


def trained_toy(dim: int, seed: int) -> tuple[SubspaceModel, float]:
    wrapped = SubspaceModel(GroupSums(), dim, "dense", seed=seed)
    targets = torch.from_numpy(group_sum_targets())
    optimizer = torch.optim.LBFGS(
        wrapped.parameters(), max_iter=400, tolerance_grad=1e-12, tolerance_change=0.0,
        history_size=20, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (wrapped() - targets).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return wrapped, loss().item()


@pytest.mark.parametrize("seed", range(5))
def test_toy_problem_trains_to_its_closed_form(seed: int) -> None:
    wrapped, loss = trained_toy(9, seed)
    minimum = group_sum_minimum(wrapped.projection.to_dense().numpy())
    assert loss == pytest.approx(minimum, rel=1e-6)
    assert loss == pytest.approx(float(group_sum_loss(wrapped.theta().detach().numpy())))
    wrapped, loss = trained_toy(10, seed)
    assert group_sum_minimum(wrapped.projection.to_dense().numpy()) < 1e-20
    assert loss < 1e-6


def test_he_normal_follows_its_rule() -> None:
    torch.manual_seed(5)
    first, second = network(), network()
    second[1].weight.data.fill_(3.0)
    he_normal(first, 4)
    he_normal(second, 4)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(first[0].bias, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(first[1].weight, torch.ones(3, dtype=torch.float64))
    wide = he_normal(nn.Sequential(nn.Linear(400, 300), nn.ConvTranspose2d(40, 50, 3)), 0)
    assert wide[0].weight.std().item() == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert wide[1].weight.std().item() == pytest.approx(np.sqrt(2 / (40 * 9)), rel=0.02)
    wrapped = SubspaceModel(network(), 9, seed=0, init_seed=4)
    assert torch.equal(wrapped.theta0, ParameterLayout.of(first).flatten(first))


def test_he_normal_refuses_what_it_does_not_know_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 2))
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match=r"parameter '1\.weight_ih_l0' of a LSTM"):
        he_normal(model, 0)
    assert torch.equal(model[0].weight, before)
