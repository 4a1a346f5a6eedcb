"""What was written, loaded again and compared."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from overparam.compress.export_layout import named_tensors, same_bits
from overparam.compress.export_structure import CannotExport, module_changes
from overparam.compress.load_model import load
from overparam.training.evaluating import evaluating

SHOWN = 5


def refuse_other_state(model: nn.Module) -> None:
    """Raise :class:`CannotExport` for a module with state besides parameters and buffers."""
    for name, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise CannotExport(
                f"{name or 'the model'} ({type(module).__name__}) keeps extra state, which may be "
                "no tensor; allowed: parameters and buffers"
            )


def check_reloads(
    model: nn.Module,
    plain: nn.Module,
    reference: nn.Module,
    folder: Path,
    outputs: Callable[[nn.Module], Tensor] | None,
) -> None:
    """Load an export with its loader and compare modules, every bit of every tensor, and outputs.

    Args:
        model: what was exported; its outputs are compared, in eval mode.
        plain: the same with plain layers, in eval mode.
        reference: what the factory makes.
        folder: of the export.
        outputs: what a model gives for a few samples, or ``None``.

    Raises:
        CannotExport: names what differs.
    """
    try:
        loaded = load(lambda: deepcopy(reference), folder)
    except (RuntimeError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise CannotExport(f"what was written does not load again: {error}") from error
    wrong = [change["path"] for change in module_changes(plain, loaded)]
    expected, got = named_tensors(plain), named_tensors(loaded)
    wrong += sorted(expected.keys() ^ got.keys())
    wrong += [n for n, t in expected.items() if n in got and not same_bits(t, got[n])]
    if _ties(expected) != _ties(got):
        wrong.append("which tensors are tied")
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise CannotExport(
            f"what was written loads as another model: {', '.join(wrong[:SHOWN])}{more}"
        )
    if outputs is not None:
        _compare(_evaluated(model, outputs), _evaluated(loaded, outputs))


def _ties(tensors: Mapping[str, Tensor]) -> set[tuple[str, ...]]:
    groups: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(id(tensor), []).append(name)
    return {tuple(sorted(names)) for names in groups.values()}


@torch.no_grad()
def _evaluated(model: nn.Module, outputs: Callable[[nn.Module], Tensor]) -> Tensor:
    with evaluating(model):
        return outputs(model)


def _compare(expected: Tensor, got: Tensor) -> None:
    if expected.shape != got.shape:
        raise CannotExport(
            f"the loaded model gives outputs of shape {tuple(got.shape)}; "
            f"expected {tuple(expected.shape)}"
        )
    if torch.equal(expected.isnan(), got.isnan()):
        # The weights are equal; kernels may sum in another order.
        scale = float(expected.nan_to_num().abs().max()) if expected.numel() else 0.0
        error = float((expected - got).nan_to_num().abs().max()) if expected.numel() else 0.0
        if error <= torch.finfo(expected.dtype).eps ** 0.5 * max(1.0, scale):
            return
    raise CannotExport(
        "the loaded model has the same tensors but gives other outputs: something that it "
        "computes with is neither parameter, buffer nor a number in an attribute"
    )
