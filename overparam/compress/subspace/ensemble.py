"""Trainings of several subspace dimensions of one model as one batched program."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from overparam.compress.subspace.model import ProjectionKind, SubspaceModel
from overparam.training import Ensemble


class SubspaceEnsemble(Ensemble):
    """Members ``theta_e = theta0 + P[:, :d_e] v_e`` that share theta0 and P and differ in d.

    The columns of a projection are drawn one after the other, so that of d columns is the first d
    columns of any wider one (``"dense"``, ``"fastfood"``, ``"coordinates"``). One P therefore
    serves all dimensions of a seed, and each member follows the path of a :class:`SubspaceModel` of
    its own d: coordinates beyond d_e are masked, get no gradient and stay zero.

    Trained by :func:`overparam.training.fit` like any ensemble; the one parameter is ``v``
    (E, max d).

    Args:
        model: Gives theta0 unless ``init_seed`` is given; copied.
        dims: d of each member.
        projection: ``"sparse"`` needs equal dims, because its stream runs block by block.
        seed: Philox key of P.
        init_seed: Draws theta0, see :class:`SubspaceModel`.

    Raises:
        ValueError: No dims, one below 1, unequal ones with ``"sparse"``; what
            :class:`SubspaceModel` and :class:`~overparam.training.Ensemble` refuse.
        TypeError: A dimension or a seed is not an integer.

    Example:
        >>> nested = SubspaceEnsemble(nn.Linear(8, 3), (5, 10), "dense", seed=0)
        >>> nested(torch.zeros(4, 8), shared=True).shape
        torch.Size([2, 4, 3])
    """

    def __init__(
        self,
        model: nn.Module,
        dims: Sequence[int],
        projection: ProjectionKind = "fastfood",
        *,
        seed: int,
        init_seed: int | None = None,
    ) -> None:
        self.dims = tuple(dims)
        if not self.dims or min(self.dims) < 1:
            raise ValueError(f"dims must hold at least one number, each >= 1, got {self.dims}")
        if projection == "sparse" and len(set(self.dims)) > 1:
            raise ValueError(
                "sparse projections of different dimensions share no columns; allowed: equal dims, "
                f"or dense, fastfood, coordinates; got {self.dims}"
            )
        widest = SubspaceModel(model, max(self.dims), projection, seed=seed, init_seed=init_seed)
        super().__init__([widest.materialise()] * len(self.dims))
        self._layout, self._projection = widest.layout, widest.projection
        self._theta0 = widest.theta0
        self._frozen = {n: p for n, p in self.parameters.items() if n not in self._layout.names}
        columns = torch.arange(max(self.dims))
        self._mask = (columns < torch.tensor(self.dims).unsqueeze(1)).to(self._theta0)
        self.parameters = {"v": nn.Parameter(torch.zeros_like(self._mask))}

    def theta(self) -> Tensor:
        """The full parameters of every member, (E, D), differentiable in ``v``."""
        return self._at(self.parameters["v"])

    def _at(self, v: Tensor) -> Tensor:
        return self._theta0 + self._projection.matvec(v * self._mask)

    def _tensors(self, v: Tensor) -> dict[str, Tensor]:
        blocks = torch.split(self._at(v), self._layout.sizes, dim=-1)
        return self._frozen | {
            name: block.reshape(self.size, *shape)
            for name, shape, block in zip(
                self._layout.names, self._layout.shapes, blocks, strict=True
            )
        }

    def functional(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        x: Tensor,
        *,
        shared: bool = False,
    ) -> Tensor:
        """Forward pass at other coordinates, ``parameters["v"]`` (E, max d); see the base class."""
        return super().functional(self._tensors(parameters["v"]), buffers, x, shared=shared)

    def coordinates(self) -> list[Tensor]:
        """Copies of the trained coordinates, (d_e,) for each member."""
        v = self.parameters["v"].detach()
        return [row[:dim].clone() for row, dim in zip(v, self.dims, strict=True)]

    @torch.no_grad()
    def set_coordinates(self, values: Sequence[Tensor]) -> None:
        """Overwrite the coordinates of all members.

        Raises:
            ValueError: Not one vector (d_e,) per member.
        """
        shapes = [tuple(value.shape) for value in values]
        if shapes != [(dim,) for dim in self.dims]:
            raise ValueError(f"values must have shapes {[(d,) for d in self.dims]}, got {shapes}")
        for row, value in zip(self.parameters["v"], values, strict=True):
            row[: len(value)] = value

    @torch.no_grad()
    def state(self, i: int) -> dict[str, Tensor]:
        """State dict of member i as a plain model of the wrapped architecture (copies)."""
        if not 0 <= i < self.size:
            raise IndexError(f"member {i} does not exist; allowed 0..{self.size - 1}")
        stacked = self._tensors(self.parameters["v"]) | self.buffers
        return {name: stacked[of][i].detach().clone() for name, of in self._state_names.items()}

    def members(self) -> list[nn.Module]:
        """Plain modules with the current weights and buffers, one per member."""
        plain = [deepcopy(self._template) for _ in self.dims]
        for index, model in enumerate(plain):
            model.load_state_dict(self.state(index))
        return plain
