"""A model that trains only d coordinates of a random affine subspace through its weights."""

from copy import deepcopy
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from overparam.compress.subspace.fastfood_projection import FastfoodProjection
from overparam.compress.subspace.initialisation import he_normal
from overparam.compress.subspace.layerwise import LayerwiseProjection
from overparam.compress.subspace.layout import ParameterLayout
from overparam.compress.subspace.philox import PhiloxStream
from overparam.compress.subspace.projections import (
    CoordinateProjection,
    DenseProjection,
    Projection,
)
from overparam.compress.subspace.sparse_projection import SparseProjection

ProjectionKind = Literal["fastfood", "sparse", "dense", "coordinates"]
Structure = Literal["global", "layerwise", "said"]


class SubspaceModel(nn.Module):
    """``theta = theta0 + P v``: frozen theta0 and P, trainable v in R^d, zero at the start.

    Li et al. 2018, section 2. All trainable parameters of the model take part (kernels, biases,
    norm scales; tied tensors once); buffers such as BatchNorm's running statistics stay outside
    and go on working. One projection makes the whole offset, which is then cut into views.

    Structures: ``"global"`` is the paper's, one P whose columns have unit length over all layers;
    ``"layerwise"`` gives every layer its own projection and share of d; ``"said"`` spends one of
    the d coordinates per layer on a learned factor, ``theta_l = theta0_l + s_l (P v)_l`` with v in
    R^(d - m) and s = 1 at the start (Aghajanyan, Gupta and Zettlemoyer 2021).

    Several seeds of one d stack as an ensemble: everything random is a buffer of fixed shape.

    Args:
        model: Any module; copied, never changed. Its weights are theta0 (so a pre-trained model
            gives the intrinsic dimension of fine-tuning) unless ``init_seed`` is given.
        dim: d, all trainable numbers.
        projection: ``"fastfood"`` (memory O(D)), ``"sparse"`` (O(d sqrt(D))), ``"dense"`` (D d at
            most 5e7), or ``"coordinates"`` (d native weights, a baseline).
        seed: Philox key of the projection.
        orthonormal: Exactly orthonormal columns; dense only, d at most 2,000.
        init_seed: Draw theta0 with :func:`he_normal` from this seed instead of reading the model's
            weights; a saved file then needs no base weights.
        structure: See above.

    Raises:
        ValueError: ``dim`` below 1, above D, or too small for the structure; an unknown
            ``projection`` or ``structure``; ``orthonormal`` without ``"dense"``; a model without
            trainable parameters, or with parameters of several devices or dtypes.
        TypeError: ``dim`` or a seed is not an integer.

    Example:
        >>> wrapped = SubspaceModel(nn.Linear(8, 3), 5, "dense", seed=0)
        >>> [name for name, _ in wrapped.named_parameters()], wrapped.full_dim
        (['v'], 27)
    """

    theta0: Tensor
    seeds: Tensor

    def __init__(
        self,
        model: nn.Module,
        dim: int,
        projection: ProjectionKind = "fastfood",
        *,
        seed: int,
        orthonormal: bool = False,
        init_seed: int | None = None,
        structure: Structure = "global",
    ) -> None:
        super().__init__()
        layout = ParameterLayout.of(model)
        layers = len(layout.layer_sizes)
        _check(dim, projection, orthonormal, structure, layout.full_dim, layers)
        for key in (seed,) if init_seed is None else (seed, init_seed):
            PhiloxStream(key)
        self.layout = layout
        self.dim = dim
        self.projection_kind = projection
        self.has_init_seed = init_seed is not None
        self.orthonormal = orthonormal
        self.structure = structure

        # A buffer, because an ensemble's members share every attribute that is not a tensor.
        keys = np.array([seed, init_seed or 0], dtype=np.uint64)
        self.register_buffer("seeds", torch.from_numpy(keys.view(np.int64)))

        self.skeleton = deepcopy(model)
        if init_seed is not None:
            he_normal(self.skeleton, init_seed)
        theta0 = layout.flatten(self.skeleton)
        self._place(self.skeleton, {})
        self.register_buffer("theta0", theta0)

        coordinates = dim - layers if structure == "said" else dim
        self.v = nn.Parameter(theta0.new_zeros(coordinates))
        if structure == "said":
            self.layer_scale = nn.Parameter(theta0.new_ones(layers))
        self.projection = self._project(coordinates).to(theta0.device)
        self.train(model.training)

    def _project(self, coordinates: int) -> Projection:
        options: dict[str, Any] = {"seed": self.projection_seed, "dtype": self.theta0.dtype}
        sizes = self.layout.sizes

        def make(layer: int | None, size: int, share: int) -> Projection:
            blocks = [
                n
                for n, of in zip(sizes, self.layout.layers, strict=True)
                if layer is None or of == layer
            ]
            stream = layer or 0
            match self.projection_kind:
                case "dense":
                    return DenseProjection(
                        size, share, stream=stream, orthonormal=self.orthonormal, **options
                    )
                case "sparse":
                    return SparseProjection(
                        size, share, stream=stream, block_sizes=blocks, **options
                    )
                case "fastfood":
                    return FastfoodProjection(size, share, stream=stream, **options)
                case "coordinates":
                    return CoordinateProjection(size, share, stream=stream, **options)

        if self.structure == "layerwise":
            return LayerwiseProjection(self.layout.layer_sizes, coordinates, make=make)
        return make(None, self.full_dim, coordinates)

    @property
    def full_dim(self) -> int:
        """D, the number of trainable parameters of the wrapped model."""
        return self.layout.full_dim

    @property
    def projection_seed(self) -> int:
        """The Philox key of the projection."""
        return int(self.seeds[0]) % 2**64

    @property
    def init_seed(self) -> int | None:
        """The Philox key of theta0; None where theta0 are the weights of the given model."""
        return int(self.seeds[1]) % 2**64 if self.has_init_seed else None

    def offset(self) -> Tensor:
        """``theta - theta0``, shape (D,): differentiable in v."""
        offset = self.projection.matvec(self.v)
        if self.structure != "said":
            return offset
        parts = torch.split(offset, self.layout.layer_sizes)
        return torch.cat([s * part for s, part in zip(self.layer_scale, parts, strict=True)])

    def theta(self) -> Tensor:
        """All D parameters at the present v, shape (D,)."""
        return self.theta0 + self.offset()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The wrapped model's output at theta0 + P v."""
        return self.forward_at(self.theta(), *args, **kwargs)

    def forward_at(self, theta: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The wrapped model's output at any theta (D,), e.g. to reuse one projection many times."""
        return functional_call(
            self.skeleton, self.layout.views(theta), args, kwargs, tie_weights=False
        )

    @torch.no_grad()
    def coordinates(self) -> Tensor:
        """Copy of the d trained numbers as one vector: v, then the layer factors if there are
        any."""
        parts = [self.v] if self.structure != "said" else [self.v, self.layer_scale]
        return torch.cat([part.detach() for part in parts])

    @torch.no_grad()
    def set_coordinates(self, values: Tensor) -> None:
        """Overwrite the d trained numbers, in the order of :meth:`coordinates`.

        Raises:
            ValueError: ``values`` does not have shape (d,).
        """
        if values.shape != (self.dim,):
            raise ValueError(f"values must have shape ({self.dim},), got {tuple(values.shape)}")
        self.v.copy_(values[: len(self.v)])
        if self.structure == "said":
            self.layer_scale.copy_(values[len(self.v) :])

    def materialise(self) -> nn.Module:
        """A plain copy of the wrapped model with its weights set to theta; needs this class no
        more."""
        # Recurrent layers keep the weights of their last call in a list of their own, graph and
        # all; assigning None drops them, and a graph can't be copied.
        self._place(self.skeleton, {})
        plain = deepcopy(self.skeleton)
        views = self.layout.views(self.theta().detach())
        self._place(plain, {name: nn.Parameter(views[name].clone()) for name in self.layout.names})
        return plain

    def _place(self, module: nn.Module, parameters: dict[str, nn.Parameter]) -> None:
        """Assign each parameter under all its names; None where there is none."""
        for aliases in self.layout.aliases:
            for name in aliases:
                owner, _, leaf = name.rpartition(".")
                setattr(module.get_submodule(owner), leaf, parameters.get(aliases[0]))

    def state_size_bytes(self, bits: int = 32) -> int:
        """Bytes that a trained model adds to its architecture and theta0.

        ``(d bits + 64) / 8`` rounded up: the coordinates and 64 bits of seed; with fewer than 32
        bits, 32 more for the scale of the quantiser. The model's own persistent buffers, such as
        running statistics, can't be regenerated and count in full.
        """
        scale = 32 if bits < 32 else 0
        buffers = sum(b.numel() * b.element_size() for b in self.model_buffers().values())
        return -(-(self.dim * bits + 64 + scale) // 8) + buffers

    def model_buffers(self) -> dict[str, Tensor]:
        """The wrapped model's own persistent buffers, by name."""
        frozen = {name for name, _ in self.skeleton.named_parameters(remove_duplicate=False)}
        return {n: t for n, t in self.skeleton.state_dict().items() if n not in frozen}

    def extra_repr(self) -> str:
        origin = "seed" if self.has_init_seed else "model"
        return (
            f"dim={self.dim}, projection={self.projection_kind!r}, structure={self.structure!r}, "
            f"orthonormal={self.orthonormal}, theta0 from {origin}"
        )


def _check(
    dim: int, projection: str, orthonormal: bool, structure: str, full_dim: int, layers: int
) -> None:
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"dim must be an integer, got {dim!r}")
    if projection not in get_args(ProjectionKind):
        raise ValueError(
            f"projection must be one of {get_args(ProjectionKind)}, got {projection!r}"
        )
    if structure not in get_args(Structure):
        raise ValueError(f"structure must be one of {get_args(Structure)}, got {structure!r}")
    if orthonormal and projection != "dense":
        raise ValueError(f"orthonormal needs projection='dense', got {projection!r}")
    least = {"global": 1, "layerwise": layers, "said": layers + 1}[structure]
    if not least <= dim <= full_dim:
        raise ValueError(
            f"dim must lie in [{least}, {full_dim}] for structure {structure!r} and a model of "
            f"{full_dim} trainable parameters in {layers} layers, got {dim}"
        )
