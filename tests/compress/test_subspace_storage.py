"""Round trips, sizes, and files that do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from overparam.compress.subspace import (
    QuantisedVector,
    SubspaceModel,
    fewest_bits,
    load_subspace,
    save_subspace,
)
from overparam.training import Ensemble

finite = st.floats(-1e6, 1e6, width=32)


def network(hidden: int = 6, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 3))


def trained(**options) -> SubspaceModel:
    wrapped = SubspaceModel(network(), **{"dim": 8, "seed": 2, **options})
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(wrapped.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        wrapped(x).square().sum().backward()
        optimizer.step()
    return wrapped.eval()


X = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("init_seed", [None, 7])
@pytest.mark.parametrize("structure", ["global", "layerwise", "said"])
@pytest.mark.parametrize("projection", ["fastfood", "sparse", "dense", "coordinates"])
def test_round_trip_gives_identical_logits(tmp_path, projection, structure, init_seed) -> None:
    saved = trained(projection=projection, structure=structure, init_seed=init_seed)
    size = save_subspace(saved, tmp_path / "v.safetensors")
    assert size == (tmp_path / "v.safetensors").stat().st_size
    # With a seed for theta0 any weights will do; without one the base itself is needed.
    base = network(seed=0 if init_seed is None else 99)
    loaded = load_subspace(tmp_path / "v.safetensors", base).eval()
    assert torch.equal(loaded(X), saved(X))
    assert torch.equal(loaded.materialise()(X), saved.materialise()(X))


def test_double_precision_and_orthonormal_survive(tmp_path) -> None:
    saved = SubspaceModel(network().double(), 8, "dense", seed=2, orthonormal=True).eval()
    saved.set_coordinates(torch.linspace(-1, 1, 8, dtype=torch.float64))
    save_subspace(saved, tmp_path / "v")
    loaded = load_subspace(tmp_path / "v", network().double()).eval()
    assert torch.equal(loaded(X.double()), saved(X.double()))


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_quantised_export(tmp_path, bits: int) -> None:
    saved = trained(init_seed=1, dim=20)
    save_subspace(saved, tmp_path / "q", bits=bits)
    loaded = load_subspace(tmp_path / "q", network()).eval()
    expected = QuantisedVector.of(saved.coordinates(), bits).dequantise()
    assert torch.equal(loaded.coordinates(), expected)
    with safe_open(tmp_path / "q", framework="pt") as file:
        assert file.get_tensor("v").nbytes == -(-20 * bits // 8)


def test_file_stores_neither_theta0_nor_projection(tmp_path) -> None:
    wrapped = SubspaceModel(nn.Linear(300, 300), 10, seed=0, init_seed=0)
    size = save_subspace(wrapped, tmp_path / "v")
    assert size < 2000 < wrapped.full_dim
    with safe_open(tmp_path / "v", framework="pt") as file:
        assert list(file.keys()) == ["v"]


def test_saving_leaves_the_model_alone(tmp_path) -> None:
    saved = trained(structure="said")
    before = saved.coordinates()
    save_subspace(saved, tmp_path / "q", bits=3)
    assert torch.equal(saved.coordinates(), before)


def test_members_of_an_ensemble_keep_their_own_seeds(tmp_path) -> None:
    seeds = [3, 0, 2**64 - 1]
    ensemble = Ensemble([SubspaceModel(network(), 8, seed=s, init_seed=s).eval() for s in seeds])
    torch.nn.init.normal_(ensemble.parameters["v"], generator=torch.Generator().manual_seed(0))
    expected = ensemble(X, shared=True)
    for seed, member, logits in zip(seeds, ensemble.members(), expected, strict=True):
        assert (member.projection_seed, member.init_seed) == (seed, seed)
        save_subspace(member, tmp_path / "v")
        torch.testing.assert_close(load_subspace(tmp_path / "v", network()).eval()(X), logits)
    with pytest.raises(ValueError, match="theta0 from model"):
        Ensemble(
            [SubspaceModel(network(), 8, seed=0, init_seed=0), SubspaceModel(network(), 8, seed=0)]
        )


def test_another_architecture(tmp_path) -> None:
    save_subspace(trained(), tmp_path / "v")
    with pytest.raises(ValueError, match=r"of 69 trainable parameters, but model .* has 80"):
        load_subspace(tmp_path / "v", network(7))
    other = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4))
    assert sum(p.numel() for p in other.parameters()) == 69
    with pytest.raises(ValueError, match=r"saved 0\.weight \[6, 5\], model 0\.weight \[5, 6\]"):
        load_subspace(tmp_path / "v", other)


def test_another_base(tmp_path) -> None:
    save_subspace(trained(), tmp_path / "v")
    with pytest.raises(ValueError, match="not the base weights"):
        load_subspace(tmp_path / "v", network(seed=3))


def rewrite(path: Path, **changes) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(metadata["overparam.subspace"]) | changes
    save_file(tensors, path, metadata={"overparam.subspace": json.dumps(header)})


def test_damaged_files(tmp_path) -> None:
    path = tmp_path / "v"
    path.write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_subspace(path, network())
    save_file({"v": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="not one of a subspace model"):
        load_subspace(path, network())
    save_subspace(trained(), path)
    rewrite(path, projection_seed=3)
    with pytest.raises(ValueError, match="projection regenerated from seed 3 differs"):
        load_subspace(path, network())
    for changes in ({"version": 2}, {"bits": 40}, {"bits": 8}, {"surprise": 1}, {"dim": "x"}):
        save_subspace(trained(), path)
        rewrite(path, **changes)
        with pytest.raises(ValueError, match="metadata that can't be read"):
            load_subspace(path, network())
    save_subspace(trained(), path)
    rewrite(path, dim=9)
    with pytest.raises(ValueError, match=r"shape \(9,\), got \(8,\)"):
        load_subspace(path, network())


def test_values_that_are_not_finite_are_not_saved(tmp_path) -> None:
    wrapped = trained()
    wrapped.set_coordinates(torch.full((8,), float("nan")))
    for bits in (32, 8):
        with pytest.raises(ValueError, match="not finite"):
            save_subspace(wrapped, tmp_path / "v", bits=bits)


@settings(max_examples=80, deadline=None)
@given(values=st.lists(finite, min_size=1, max_size=40), bits=st.integers(2, 16))
def test_quantiser(values: list[float], bits: int) -> None:
    v = torch.tensor(values)
    quantised = QuantisedVector.of(v, bits)
    error = (quantised.dequantise() - v).abs().max().item()
    assert error <= quantised.scale * 0.5 * (1 + 1e-5) + 1e-6 * v.abs().max().item() + 1e-38
    assert (quantised.dequantise()[v == 0] == 0).all()
    packed = quantised.packed()
    assert len(packed) == -(-len(values) * bits // 8)
    again = QuantisedVector.unpack(packed, dim=len(values), bits=bits, scale=quantised.scale)
    assert np.array_equal(again.codes, quantised.codes)


def test_quantiser_example() -> None:
    quantised = QuantisedVector.of(torch.tensor([-3.0, -0.4, 0.0, 1.6, 3.0]), 3)
    assert quantised.scale == 1.0
    assert quantised.codes.tolist() == [-3, 0, 0, 2, 3]
    # Offset 4, three bits each: 001 100 100 110 111.
    assert quantised.packed().tolist() == [0b00110010, 0b01101110]


@pytest.mark.parametrize("bits", [1, 17, 32])
def test_bits_out_of_range(bits: int) -> None:
    with pytest.raises(ValueError, match=rf"bits must lie in \[2, 16\], got {bits}"):
        QuantisedVector.of(torch.ones(3), bits)


def test_unpack_checks_the_length() -> None:
    with pytest.raises(ValueError, match="take 2 bytes, got 3"):
        QuantisedVector.unpack(np.zeros(3, np.uint8), dim=5, bits=3, scale=1.0)


def test_fewest_bits_is_the_smallest_that_suffices() -> None:
    v = torch.linspace(-1, 1, 101)

    def score(w: torch.Tensor) -> float:
        return 1.0 - (w - v).abs().max().item()

    found = fewest_bits(v, score, keep=0.9)
    # The step 2 / (2^b - 2) has half at most 0.1 from b = 4 on: 1/6 > 0.1 > 1/14.
    assert found.bits == 4
    assert list(found.scores) == [2, 3, 4]
    assert found.threshold == pytest.approx(0.9)
    none = fewest_bits(v, score, keep=1.0, candidates=[2, 3])
    assert none.bits is None
    assert list(none.scores) == [2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0.0}, "keep must lie"),
        ({"keep": 1.1}, "keep must lie"),
        ({"candidates": [4, 4]}, "candidates must be increasing"),
        ({"candidates": []}, "candidates must be increasing"),
    ],
)
def test_fewest_bits_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fewest_bits(torch.ones(2), lambda v: 1.0, **options)
    with pytest.raises(ValueError, match="must be positive"):
        fewest_bits(torch.ones(2), lambda v: 0.0)
