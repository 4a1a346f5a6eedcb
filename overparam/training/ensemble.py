"""Many copies of one architecture as one batched tensor program."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils.parametrize import type_before_parametrizations

from overparam.training.folding import FoldedConvolutions

RANDOM_LAYERS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.RReLU,
)


class Ensemble:
    """E independent copies of one architecture as one batched program.

    Parameters and buffers of the E members are stacked along a new leading axis, and the forward
    pass is ``torch.func.vmap`` of ``torch.func.functional_call``: E small matrix products become
    one batched product, E convolutions one grouped convolution. No operation mixes members, so each
    of them follows the path that it would follow alone, whoever else is in the ensemble. Running
    statistics of BatchNorm are kept per member.

    Args:
        models: the members; same tree of module classes and settings, same tensor names, shapes,
            dtypes. Their weights are copied, the modules themselves stay untouched.

    Raises:
        ValueError: no members; a member that differs from the first one in a module, a setting or a
            tensor (member and name are given); a random layer (dropout), whose draws could not be
            the same alone and in company; BatchNorm with ``momentum=None``, whose average cannot be
            batched.

    Example:
        >>> ensemble = Ensemble([nn.Linear(3, 2) for _ in range(4)])
        >>> ensemble(torch.zeros(5, 3), shared=True).shape
        torch.Size([4, 5, 2])
    """

    parameters: dict[str, nn.Parameter]
    buffers: dict[str, Tensor]
    size: int

    def __init__(self, models: Sequence[nn.Module]) -> None:
        models = list(models)
        if not models:
            raise ValueError("models is empty: an ensemble needs at least one member")
        _refuse_unbatchable(models[0])
        for index, model in enumerate(models[1:], start=1):
            _check_same_architecture(models[0], model, index)
        self.size = len(models)
        self._template = deepcopy(models[0])
        parameters = [dict(model.named_parameters()) for model in models]
        buffers = [dict(model.named_buffers()) for model in models]
        self.parameters = {
            name: nn.Parameter(
                torch.stack([own[name].detach() for own in parameters]),
                requires_grad=first.requires_grad,
            )
            for name, first in parameters[0].items()
        }
        self.buffers = {
            name: torch.stack([own[name].detach() for own in buffers]) for name in buffers[0]
        }
        self._state_names = _state_names(self._template)
        self._own_inputs = vmap(self._forward, in_dims=(0, 0, 0))
        self._shared_inputs = vmap(self._forward, in_dims=(0, 0, None))

    def _forward(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor
    ) -> Tensor:
        out: Tensor = functional_call(self._template, (parameters, buffers), (x,))
        return out

    def __call__(self, x: Tensor, *, shared: bool = False) -> Tensor:
        """Outputs (E, B, ...) of inputs x (E, B, ...), or of (B, ...) for all when ``shared``."""
        return self.functional(self.parameters, self.buffers, x, shared=shared)

    def functional(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        x: Tensor,
        *,
        shared: bool = False,
    ) -> Tensor:
        """Forward pass with other stacked tensors, e.g. a moving average of the parameters.

        In train mode the running statistics in ``buffers`` are updated in place.

        Args:
            parameters: named as ``self.parameters``, each (E, ...).
            buffers: named as ``self.buffers``, each (E, ...).
            x: (E, B, ...), or (B, ...) when ``shared``.
            shared: every member sees the same x.

        Raises:
            ValueError: not ``shared`` and x does not start with E.
        """
        if shared:
            with FoldedConvolutions():
                out: Tensor = self._shared_inputs(dict(parameters), dict(buffers), x)
            return out
        if x.shape[:1] != (self.size,):
            raise ValueError(
                f"x has shape {tuple(x.shape)}; expected ({self.size}, B, ...), one batch per "
                "member, or shared=True for one batch for all"
            )
        with FoldedConvolutions():
            out = self._own_inputs(dict(parameters), dict(buffers), x)
        return out

    @property
    def training(self) -> bool:
        """Whether layers such as BatchNorm act as in training."""
        return self._template.training

    def train(self, mode: bool = True) -> None:
        """Put every member in train (or eval) mode."""
        self._template.train(mode)

    def eval(self) -> None:
        """Put every member in eval mode."""
        self.train(False)

    def trainable(self) -> list[nn.Parameter]:
        """The stacked parameters that require gradients, in the order of the architecture."""
        return [p for p in self.parameters.values() if p.requires_grad]

    def state(self, i: int) -> dict[str, Tensor]:
        """State dict of member i (copies), as ``load_state_dict`` of the plain module takes it.

        Raises:
            IndexError: i is not in 0..E-1.
        """
        if not 0 <= i < self.size:
            raise IndexError(f"member {i} does not exist; allowed 0..{self.size - 1}")
        stacked = {**self.parameters, **self.buffers}
        return {
            name: stacked[source][i].detach().clone() for name, source in self._state_names.items()
        }

    def states(self) -> list[dict[str, Tensor]]:
        """The state dicts of all members."""
        return [self.state(i) for i in range(self.size)]

    @torch.no_grad()
    def members(self) -> list[nn.Module]:
        """Plain modules with the current weights and buffers, one per member."""
        plain = []
        for i in range(self.size):
            model = deepcopy(self._template)
            for name, parameter in model.named_parameters():
                parameter.copy_(self.parameters[name][i])
            for name, buffer in model.named_buffers():
                buffer.copy_(self.buffers[name][i])
            plain.append(model)
        return plain

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of all stacked tensors, for :meth:`restore` (rewinding, best weights so far)."""
        return {name: t.detach().clone() for name, t in {**self.parameters, **self.buffers}.items()}

    @torch.no_grad()
    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Copy a :meth:`snapshot` back, in place: optimisers keep their parameters.

        Raises:
            ValueError: a tensor is missing, unknown, or has another shape.
        """
        stacked = {**self.parameters, **self.buffers}
        for name in sorted(stacked.keys() ^ snapshot.keys()):
            kind = "is missing from" if name in stacked else "does not belong in"
            raise ValueError(f"{name!r} {kind} the snapshot of this ensemble")
        for name, tensor in stacked.items():
            if tensor.shape != snapshot[name].shape:
                raise ValueError(
                    f"{name!r} has shape {tuple(snapshot[name].shape)} in the snapshot; "
                    f"expected {tuple(tensor.shape)}"
                )
        for name, tensor in stacked.items():
            tensor.copy_(snapshot[name])


def _refuse_unbatchable(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, RANDOM_LAYERS) and getattr(module, "p", 1.0) > 0:
            raise ValueError(
                f"module {name!r} ({module}) draws random numbers in the forward pass, so a "
                "member would depend on who else is in the ensemble; allowed are deterministic "
                "layers (dropout with p=0)"
            )
        if getattr(module, "track_running_stats", False) and getattr(module, "momentum", 0) is None:
            raise ValueError(
                f"module {name!r} ({module}) has momentum=None (cumulative average), which "
                "cannot be batched; give it a momentum, e.g. 0.1"
            )


def _check_same_architecture(first: nn.Module, model: nn.Module, index: int) -> None:
    ours, theirs = dict(first.named_modules()), dict(model.named_modules())
    for name in [*ours, *sorted(theirs.keys() - ours.keys())]:
        a, b = ours.get(name), theirs.get(name)
        if _kind(a) is not _kind(b):
            raise ValueError(
                f"member {index}: module {name!r} is {_kind(b).__name__}, "
                f"in member 0 it is {_kind(a).__name__}"
            )
        if a is not None and b is not None and a.extra_repr() != b.extra_repr():
            raise ValueError(
                f"member {index}: module {name!r} is {b}, in member 0 it is {a}; "
                "members may differ in their weights alone"
            )
        if a is not None and b is not None and a.training != b.training:
            raise ValueError(f"member {index}: module {name!r} is in another train/eval mode")
    for kind in ("parameters", "buffers"):
        _check_same_tensors(
            dict(getattr(first, f"named_{kind}")()), dict(getattr(model, f"named_{kind}")()), index
        )


def _kind(module: nn.Module | None) -> type:
    """Class of a module, that from before it was parametrized; NoneType if it is missing."""
    return type(None) if module is None else type_before_parametrizations(module)


def _check_same_tensors(ours: dict[str, Tensor], theirs: dict[str, Tensor], index: int) -> None:
    for name in [*ours, *sorted(theirs.keys() - ours.keys())]:
        if name not in ours or name not in theirs:
            where = "member 0" if name in ours else f"member {index}"
            raise ValueError(f"member {index}: tensor {name!r} exists in {where} alone")
        a, b = ours[name], theirs[name]
        for what in ("shape", "dtype", "device", "requires_grad"):
            if getattr(a, what) != getattr(b, what):
                raise ValueError(
                    f"member {index}: tensor {name!r} has {what} {getattr(b, what)}, "
                    f"in member 0 it has {getattr(a, what)}"
                )


def _state_names(model: nn.Module) -> dict[str, str]:
    """For each state-dict key the name under which its (perhaps tied) tensor is stacked."""
    canonical = {id(t): name for name, t in [*model.named_parameters(), *model.named_buffers()]}
    return {name: canonical[id(t)] for name, t in model.state_dict(keep_vars=True).items()}
