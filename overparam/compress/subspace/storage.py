"""A trained subspace model as a small file: seeds, d numbers, and what can't be regenerated."""

import hashlib
import json
from os import PathLike
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from overparam.compress.subspace.model import ProjectionKind, Structure, SubspaceModel
from overparam.compress.subspace.quantise import MAX_BITS, QuantisedVector

_KEY = "overparam.subspace"
_BUFFER = "buffer."
_PROBES = 8


class SubspaceFile(BaseModel):
    """The JSON metadata of a saved subspace model.

    Attributes:
        version: Of this layout.
        architecture: Class name of the wrapped model.
        shapes: Name and shape of each trainable tensor.
        full_dim: D.
        dim: d.
        projection: Kind of P.
        projection_seed: Philox key of P.
        orthonormal: Whether P's columns were orthonormalised.
        structure: Global, layer-wise or structure-aware.
        init_seed: Seed of theta0, or None where theta0 are the weights of a given base model.
        theta0_sha256: Digest of theta0.
        bits: 32, or the bits of each quantised coordinate.
        scale: Scale of the quantiser, None for 32 bits.
        probe: First entries of theta - theta0: a projection that came out otherwise is noticed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    architecture: str
    shapes: dict[str, list[int]]
    full_dim: int
    dim: int
    projection: ProjectionKind
    projection_seed: int
    orthonormal: bool
    structure: Structure
    init_seed: int | None
    theta0_sha256: str
    bits: int
    scale: float | None
    probe: list[float]

    @model_validator(mode="after")
    def _check_bits(self) -> Self:
        exact = self.bits == 32 and self.scale is None
        if not exact and not (2 <= self.bits <= MAX_BITS and self.scale is not None):
            raise ValueError(f"{self.bits} bits and scale {self.scale} do not belong together")
        return self


def save_subspace(model: SubspaceModel, path: str | PathLike[str], *, bits: int = 32) -> int:
    """Write seeds, coordinates and the model's own buffers as one safetensors file.

    Neither P nor theta0 is stored: both follow from their seeds, theta0 of a pre-trained model from
    the base model that :func:`load_subspace` is given.

    Args:
        model: A trained subspace model; unchanged.
        path: File to write.
        bits: 32 keeps the coordinates exactly; 2 to 16 quantises and packs them.

    Returns:
        Size of the file in bytes.

    Raises:
        ValueError: ``bits`` is neither 32 nor in 2..16, or a coordinate is not finite.
    """
    coordinates = model.coordinates().cpu()
    tensors = {_BUFFER + n: t.cpu().contiguous() for n, t in model.model_buffers().items()}
    scale: float | None = None
    if bits == 32:
        if not torch.isfinite(coordinates).all():
            raise ValueError("the trained coordinates have values that are not finite")
        tensors["v"] = coordinates
        stored = coordinates
    else:
        quantised = QuantisedVector.of(coordinates, bits)
        tensors["v"] = torch.from_numpy(quantised.packed())
        scale = quantised.scale
        stored = quantised.dequantise().to(coordinates)
    header = SubspaceFile(
        architecture=type(model.skeleton).__qualname__,
        shapes=_shapes(model),
        full_dim=model.full_dim,
        dim=model.dim,
        projection=model.projection_kind,
        projection_seed=model.projection_seed,
        orthonormal=model.orthonormal,
        structure=model.structure,
        init_seed=model.init_seed,
        theta0_sha256=_digest(model.theta0),
        bits=bits,
        scale=scale,
        probe=_probe(model, stored),
    )
    save_file(tensors, path, metadata={_KEY: header.model_dump_json()})
    return Path(path).stat().st_size


def load_subspace(path: str | PathLike[str], model: nn.Module) -> SubspaceModel:
    """Rebuild a saved subspace model on a module of the same architecture.

    Args:
        path: File written by :func:`save_subspace`.
        model: Module of the same architecture. Its weights are redrawn if the file has an
            ``init_seed``; otherwise they must be the base weights that training started from.

    Returns:
        The subspace model, with logits identical to the saved one's (at 32 bits).

    Raises:
        ValueError: Not such a file; another architecture (both parameter counts or the first tensor
            that differs are named); other base weights; a projection that this platform regenerates
            differently.
    """
    header, tensors = _read(path)
    saved = sum(int(np.prod(shape, dtype=np.int64)) for shape in header.shapes.values())
    found = {name: list(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if saved != count:
        raise ValueError(
            f"{path} was saved from a {header.architecture} of {saved} trainable parameters, but "
            f"model ({type(model).__name__}) has {count}"
        )
    if found != header.shapes or list(found) != list(header.shapes):
        pairs = zip(header.shapes.items(), found.items(), strict=False)
        ours, theirs = next((a, b) for a, b in pairs if a != b)
        raise ValueError(
            f"{path} and model both have {count} trainable parameters, but differ in a tensor: "
            f"saved {ours[0]} {ours[1]}, model {theirs[0]} {theirs[1]}"
        )
    loaded = SubspaceModel(
        model,
        header.dim,
        header.projection,
        seed=header.projection_seed,
        orthonormal=header.orthonormal,
        init_seed=header.init_seed,
        structure=header.structure,
    )
    if header.init_seed is None and _digest(loaded.theta0) != header.theta0_sha256:
        raise ValueError(f"model's weights are not the base weights that {path} was trained from")
    if header.scale is None:
        coordinates = tensors.pop("v")
    else:
        coordinates = QuantisedVector.unpack(
            tensors.pop("v").numpy(), dim=header.dim, bits=header.bits, scale=header.scale
        ).dequantise()
    loaded.set_coordinates(coordinates.to(loaded.theta0))
    buffers = {name.removeprefix(_BUFFER): tensor for name, tensor in tensors.items()}
    if buffers.keys() != loaded.model_buffers().keys():
        raise ValueError(
            f"{path} has buffers {sorted(buffers)}, model has {sorted(loaded.model_buffers())}"
        )
    loaded.skeleton.load_state_dict(buffers, strict=False)
    probe = _probe(loaded, loaded.coordinates())
    if not np.allclose(probe, header.probe, rtol=1e-3, atol=1e-6 * max(map(abs, header.probe))):
        raise ValueError(
            f"the projection regenerated from seed {header.projection_seed} differs from the one "
            f"that {path} was saved with: offsets {probe}, saved {header.probe}"
        )
    return loaded


def _read(path: str | PathLike[str]) -> tuple[SubspaceFile, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    if _KEY not in metadata:
        raise ValueError(f"{path} is a safetensors file, but not one of a subspace model")
    try:
        header = SubspaceFile.model_validate(json.loads(metadata[_KEY]))
    except (ValidationError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} has metadata that can't be read: {error}") from error
    if "v" not in tensors:
        raise ValueError(f"{path} holds no coordinates")
    return header, tensors


def _shapes(model: SubspaceModel) -> dict[str, list[int]]:
    return {n: list(s) for n, s in zip(model.layout.names, model.layout.shapes, strict=True)}


def _digest(theta0: Tensor) -> str:
    return hashlib.sha256(theta0.detach().cpu().view(torch.uint8).numpy().tobytes()).hexdigest()


@torch.no_grad()
def _probe(model: SubspaceModel, coordinates: Tensor) -> list[float]:
    """Entries of theta - theta0 at ``coordinates``, spread evenly over the D parameters."""
    present = model.coordinates()
    model.set_coordinates(coordinates.to(present))
    offset = model.offset()
    model.set_coordinates(present)
    chosen = torch.linspace(0, model.full_dim - 1, min(_PROBES, model.full_dim)).long()
    return [float(value) for value in offset[chosen.to(offset.device)]]
