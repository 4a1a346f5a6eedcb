"""SSF: one learned scale and shift per channel after each operation of a frozen network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overparam.adapt.attach import attach
from overparam.adapt.operations import channels
from overparam.adapt.rules import Rule, insertion_points
from overparam.adapt.targets import Head, freeze_except, head_parameters

NAME = "ssf"
Init = Literal["normal", "identity"]
Learn = Literal["both", "scale", "shift"]


class ScaleShift(nn.Module):
    """`y = scale * x + shift`, one number each per channel, independent of the input.

    Lian et al. 2022 (arXiv 2210.08823), equation 4. The normal start (scale from N(1, std^2),
    shift from N(0, std^2)) is that of the authors' code.

    Args:
        channels: C.
        axis: the channel axis of the input; -1 for tokens `(..., C)`, 1 or -3 for images.
        init: "normal", or "identity" for scale 1 and shift 0.
        std: standard deviation of the normal start.
        learn: "both", or one of "scale" and "shift" alone; the other then does not exist.
        generator: source of the normal start; torch's default generator if None, as in `nn.Linear`.
        device: where the pair lives.
        dtype: its floating type.

    Raises:
        ValueError: `channels` < 1, `std` < 0, `init` or `learn` unknown.

    Example:
        >>> ScaleShift(3, axis=1, init="identity")(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3, 4, 4])
    """

    def __init__(
        self,
        channels: int,
        axis: int,
        init: Init = "normal",
        std: float = 0.02,
        *,
        learn: Learn = "both",
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        if std < 0:
            raise ValueError(f"std must not be negative, got {std}")
        if init not in ("normal", "identity"):
            raise ValueError(f"init is 'normal' or 'identity', got {init!r}")
        if learn not in ("both", "scale", "shift"):
            raise ValueError(f"learn is 'both', 'scale' or 'shift', got {learn!r}")
        super().__init__()
        self.channels = channels
        self.axis = axis
        # Drawn on the CPU, so that a seed gives the same pair on every device.
        noise = torch.zeros(2, channels, device="cpu")
        if init == "normal":
            noise = std * torch.randn(2, channels, generator=generator, device="cpu")
        scale, shift = (1 + noise[0]).to(device, dtype), noise[1].to(device, dtype)
        self.scale = nn.Parameter(scale) if learn != "shift" else None
        self.shift = nn.Parameter(shift) if learn != "scale" else None

    def along_axis(self, values: Tensor, ndim: int) -> Tensor:
        """View `(C,)` so that it broadcasts over a tensor with `ndim` axes."""
        trailing = -self.axis - 1 if self.axis < 0 else ndim - 1 - self.axis
        return values.view(-1, *([1] * trailing))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift the channels of x.

        Raises:
            RuntimeError: x does not have C channels on the axis.
        """
        check_channels(x, self.axis, self.channels)
        if self.scale is None:
            assert self.shift is not None
            return x + self.along_axis(self.shift, x.ndim)
        if self.shift is None:
            return x * self.along_axis(self.scale, x.ndim)
        scale, shift = (self.along_axis(t, x.ndim) for t in (self.scale, self.shift))
        return torch.addcmul(shift, x, scale)

    def extra_repr(self) -> str:
        """Show channels and axis in the printed model."""
        return f"{self.channels}, axis={self.axis}"


def check_channels(x: Tensor, axis: int, count: int) -> None:
    """Refuse a tensor without `count` channels, which broadcasting would otherwise let pass.

    Raises:
        RuntimeError: naming the shape.
    """
    if not -x.ndim <= axis < x.ndim or x.shape[axis] != count:
        raise RuntimeError(f"expected {count} channels on axis {axis}, got shape {tuple(x.shape)}")


def apply_pair(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Forward hook of an operation with a pair."""
    scaled: Tensor = module.ssf(output)  # type: ignore[operator]
    return scaled


def inject_ssf(
    model: nn.Module,
    rules: Rule = "generic",
    exclude: Iterable[str] = (),
    *,
    head: Head = "auto",
    init: Init = "normal",
    std: float = 0.02,
    learn: Learn = "both",
    axes: Mapping[type[nn.Module], int] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Put a pair after each chosen operation and freeze everything but pairs and head, in place.

    Lian et al. 2022, section 3.2. Each pair is a child `ssf` of its operation, so that the base's
    state-dict keys and class tree stay as they are. A hook applies it, so a model that reads an
    operation's weight without calling the operation passes it by; `traced_rule` finds these.

    AdamW's weight decay pulls a scale towards 0, not 1: as the authors do for all vectors, leave
    the pairs out of it (in an ensemble they are matrices, so a rule by the number of axes misses
    them).

    Args:
        model: the pretrained network.
        rules: see `insertion_points`.
        exclude: see `insertion_points`.
        head: see `insertion_points`; it stays trainable.
        init: see `ScaleShift`.
        std: see `ScaleShift`.
        learn: see `ScaleShift`.
        axes: see `insertion_points`.
        seed: seed of the normal start.

    Returns:
        The same model.

    Raises:
        RuntimeError: the model already has pairs.
        ValueError: see `insertion_points` and `ScaleShift`; nothing is changed then.
    """
    if pairs(model):
        raise RuntimeError(
            f"{type(model).__name__} already has {len(pairs(model))} pairs, the first after "
            f"{next(iter(pairs(model)))!r}; merge_ssf it before injecting again"
        )
    points = insertion_points(model, rules, exclude, head=head, axes=axes)
    generator = torch.Generator().manual_seed(seed)
    tensors = (t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point())
    anywhere = next(tensors, torch.empty(0))
    built = {}
    for name, axis in points.items():
        module = model.get_submodule(name)
        like = next(module.parameters(recurse=False), anywhere)
        built[name] = ScaleShift(
            channels(module),
            axis,
            init,
            std,
            learn=learn,
            generator=generator,
            device=like.device,
            dtype=like.dtype,
        )
    for name, pair in built.items():
        attach(model.get_submodule(name), NAME, pair, apply_pair)
    trained = [parameter for pair in built.values() for parameter in pair.parameters()]
    freeze_except(model, [*trained, *head_parameters(model, head)])
    return model


def pairs(model: nn.Module) -> dict[str, ScaleShift]:
    """Return `{name of the operation: its pair}`, in model order."""
    return {
        name.removesuffix(f".{NAME}") if name != NAME else "": module
        for name, module in model.named_modules()
        if isinstance(module, ScaleShift) and name.split(".")[-1] == NAME
    }


def ssf_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the pairs alone, `{"blocks.0.norm1.ssf.scale": (C,), ...}`.

    Raises:
        ValueError: the model has no pairs.
    """
    if not pairs(model):
        raise ValueError(f"{type(model).__name__} has no pairs; inject_ssf it first")
    return {
        f"{name}.{NAME}.{key}".lstrip("."): tensor.detach().clone()
        for name, pair in pairs(model).items()
        for key, tensor in pair.named_parameters()
    }


@torch.no_grad()
def load_ssf(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy pairs saved by `ssf_state` into a model with pairs at the same places.

    Raises:
        RuntimeError: a pair has another number of channels, is missing, or has no place; the
            layer is named and nothing is changed.
    """
    own = {
        f"{name}.{NAME}.{key}".lstrip("."): tensor
        for name, pair in pairs(model).items()
        for key, tensor in pair.named_parameters()
    }
    for key in sorted(own.keys() ^ state.keys()):
        where = "the saved pairs" if key in own else "the model"
        raise RuntimeError(f"{key} is missing from {where}")
    for key, tensor in own.items():
        if tensor.shape != state[key].shape:
            layer = key.rpartition(f".{NAME}.")[0]
            raise RuntimeError(
                f"{layer or 'the model'} has {tensor.numel()} channels, the saved {key} has shape "
                f"{tuple(state[key].shape)}"
            )
    for key, tensor in own.items():
        tensor.copy_(state[key])
