"""Post-training quantisation, block after block, against the float network."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from overparam.compress.adaround import reconstruct_block
from overparam.compress.fake_quantised import FakeQuantised, list_blocks, quantize_model
from overparam.compress.layer_inputs import call_counts, check_batches, input_of
from overparam.compress.registry import CannotTreat
from overparam.compress.weights import COMPRESSIBLE
from overparam.datasets import Inputs
from overparam.datasets.batches import parts_of
from overparam.training.task import Forward, call_model

MOST_ROWS = 256

Augment = Callable[[str, nn.Module, nn.Module], Sequence[Inputs]]
"""(block, float network, quantised network) -> more batches to reconstruct that block on."""


def ptq(
    model: nn.Module,
    calib: Sequence[Inputs],
    *,
    w_bits: int,
    a_bits: int | None = None,
    first_last: int | None = 8,
    seed: int,
    iters: int = 300,
    types: Iterable[type[nn.Module]] = (),
    blocks: Sequence[str] | None = None,
    skip: Iterable[str] = (),
    forward: Forward = call_model,
    augment: Augment | None = None,
    drop: float = 0.5,
    batch: int = 32,
    **reconstruction: Any,
) -> nn.Module:
    """Quantise a trained model with unlabelled calibration samples only.

    For each block in the order in which they run: its input x in the float network and x_q in the
    quantised one, whose earlier blocks are finished, and :func:`reconstruct_block`. Activation
    quantisers are calibrated on the float network's activations. Without ``types`` each layer is a
    block; any model with Linear or Conv layers will do, however they are wired. Tables of
    embeddings, and layers tied to one, are rounded to the nearest: that is the best for a lookup.

    Args:
        model: trained; not changed.
        calib: batches of inputs, each as the model takes it; no labels.
        w_bits: of the weights, 2..8.
        a_bits: of the activations; ``None`` leaves them float.
        first_last: bits of the first and the last layer that run.
        seed: of everything drawn.
        iters: steps per block; 0 rounds to the nearest.
        types: classes of blocks, see :func:`list_blocks`.
        blocks: names of the blocks instead.
        skip: names of layers to leave float.
        forward: runs the model on one of the batches.
        augment: more batches per block, beside ``calib``.
        drop: QDrop probability, of activation quantisers.
        batch: samples in a step of the reconstruction; a linear layer that is applied at many
            positions gets at most 256 of their rows.
        reconstruction: other arguments of :func:`reconstruct_block`.

    Returns:
        A fake-quantised copy in eval mode; :func:`integer_weights` stores it, where activations
        stayed float.

    Raises:
        ValueError: no calibration batch, one with NaN, nothing to quantise that runs, blocks that
            share a weight, numbers out of range.
        CannotTreat: a block that does not take and return one tensor.
    """
    batches = list(calib)
    check_batches(batches)
    names = list_blocks(model, types) if blocks is None else list(blocks)
    teacher = deepcopy(model).eval()
    layers = [name for name, module in model.named_modules() if isinstance(module, COMPRESSIBLE)]
    order = list(call_counts(teacher, layers, batches[0], forward))
    student = quantize_model(
        model, w_bits, a_bits, first_last, order=order, skip=skip, drop=drop
    ).eval()
    running = call_counts(teacher, names, batches[0], forward)
    generator = torch.Generator().manual_seed(seed)
    seeds = torch.randint(2**62, (len(running),), generator=generator).tolist()
    for index, block in enumerate(running):
        if not _quantised_layers(student, block):
            continue
        extra = [*augment(block, teacher, student)] if augment is not None else []
        shown = [*batches, *extra]
        check_batches(shown)
        _calibrate(student, teacher, block, shown, forward)
        if iters == 0:
            continue
        own = teacher.get_submodule(block)
        x = input_of(teacher, block, running[block], shown, forward)
        x_q = input_of(student, block, running[block], shown, forward)
        reconstruct_block(
            student.get_submodule(block),
            x,
            x_q,
            _outputs(block, own, x),
            iters,
            seed=seeds[index],
            batch=_step_rows(batch, x, shown),
            channel_axis=_channel_axis(own),
            **reconstruction,
        )
    return student


def _calibrate(
    student: nn.Module,
    teacher: nn.Module,
    block: str,
    batches: Sequence[Inputs],
    forward: Forward,
) -> None:
    waiting = {
        name: layer.input_quantizer
        for name, layer in _quantised_layers(student, block).items()
        if layer.input_quantizer is not None
    }
    counts = call_counts(teacher, list(waiting), batches[0], forward) if waiting else {}
    for name, calls in counts.items():
        quantizer = waiting[name]
        assert quantizer is not None
        quantizer.calibrate(input_of(teacher, name, calls, batches, forward))


def _quantised_layers(student: nn.Module, block: str) -> dict[str, FakeQuantised]:
    prefix = f"{block}." if block else ""
    return {
        f"{prefix}{name}" if name else block: layer
        for name, layer in student.get_submodule(block).named_modules()
        if isinstance(layer, FakeQuantised)
    }


@torch.no_grad()
def _outputs(name: str, block: nn.Module, x: Tensor, rows: int = 256) -> Tensor:
    # A copy of each part: the block may write into what it gets.
    parts = [block(part.clone()) for part in torch.split(x, rows)]
    if not isinstance(parts[0], Tensor):
        raise CannotTreat(f"{name!r} returns a {type(parts[0]).__name__}; a block returns a tensor")
    return torch.cat(parts)


def _step_rows(batch: int, x: Tensor, shown: Sequence[Inputs]) -> int:
    # Samples, or for rows (N, features) of a layer applied at many positions, rows.
    samples = sum(len(parts_of(inputs)[0]) for inputs in shown)
    return max(batch, min(MOST_ROWS, batch * len(x) // samples))


def _channel_axis(block: nn.Module) -> int:
    convolves = any(isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) for m in block.modules())
    return 1 if convolves else -1
