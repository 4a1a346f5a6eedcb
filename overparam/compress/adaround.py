"""Learned rounding of a block of layers: AdaRound with QDrop and learned scales."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from overparam.compress.activation_quantizer import check_probability
from overparam.compress.fake_quantised import FakeQuantised
from overparam.compress.weight_quantizer import soft_rounding

SMALLEST_SCALE = 0.01
"""No step takes a scale below this share of where it began."""


def annealed_exponent(
    step: int, steps: int, *, warmup: float = 0.2, start: float = 20.0, end: float = 2.0
) -> float:
    """Exponent b of the rounding term: ``start`` during the warm-up, then linearly to ``end``.

    Example:
        >>> [round(annealed_exponent(t, 100), 9) for t in (0, 20, 60, 100)]
        [20.0, 20.0, 11.0, 2.0]
    """
    done = max(0.0, (step / steps - warmup) / (1 - warmup))
    return start + (end - start) * done


def rounding_term(rounded: Tensor, exponent: float) -> Tensor:
    r"""How far soft roundings h are from 0 and 1: :math:`\sum 1 - |2h - 1|^b`.

    AdaRound, equation 24.

    Example:
        >>> round(float(rounding_term(torch.tensor([0.0, 0.3, 0.5, 1.0]), 2.0)), 2)
        1.84
    """
    return (1 - (2 * rounded - 1).abs().pow(exponent)).sum()


def reconstruct_block(
    q_block: nn.Module,
    x: Tensor,
    x_q: Tensor,
    y: Tensor,
    iters: int,
    *,
    seed: int,
    batch: int = 32,
    mix: float = 0.5,
    channel_axis: int = 1,
    round_weight: float = 0.01,
    relative: bool = False,
    warmup: float = 0.2,
    lr_rounding: float = 1e-2,
    lr_scale: float = 1e-4,
    lr_activation: float = 1e-3,
) -> Tensor:
    r"""Learn roundings and scales of a block so that it computes what the float block computes.

    Minimises, in place,

    .. math:: \mathrm{mean}\sum_{channels} (\mathrm{block}_q(\mathrm{mix}(x_q, x)) - y)^2
        + \lambda \sum (1 - |2h(V)-1|^{b})

    by Adam over V, the weights' scales and the activations' scales, the two scales' rates
    following a half cosine to 0; then every V is rounded hard. The second term is off during
    ``warmup``, and b falls from 20 to 2 over the rest. In mix every entry comes from x with
    probability ``mix``, else from :math:`x_q`. Everything but the quantisers is in eval mode.

    Args:
        q_block: has :class:`FakeQuantised` layers, whose activation quantisers are calibrated.
        x: (N, ...) inputs of the block in the float network.
        x_q: (N, ...) the same samples in the quantised network, earlier blocks finished.
        y: (N, ...) outputs of the float block on ``x``.
        iters: steps, >= 0; none leaves the nearest rounding.
        seed: of batches, mix and QDrop.
        batch: samples in a step.
        mix: probability in [0, 1].
        channel_axis: of the block's output; summed over.
        round_weight: lambda.
        relative: lambda is instead ``round_weight`` times the error of nearest rounding per weight,
            so that it suits outputs of any size; too small a one leaves V between up and down,
            and the hard rounding at the end undoes what was learned.
        warmup: share of the steps, in [0, 1).
        lr_rounding: step size of V.
        lr_scale: of the weights' scales.
        lr_activation: of the activations' scales.

    Returns:
        The reconstruction error (the first term) of every step, (iters,).

    Raises:
        ValueError: numbers out of range, no samples, samples that differ in number or are not
            finite, a block without quantisers, or ``relative`` for one that is soft already.
    """
    _check_reconstruction(x, x_q, y, iters=iters, batch=batch, mix=mix, warmup=warmup)
    layers = [layer for layer in q_block.modules() if isinstance(layer, FakeQuantised)]
    if not layers:
        raise ValueError("q_block has no quantised layer to reconstruct")
    if iters == 0:
        return torch.zeros(0)
    generator = torch.Generator(x.device).manual_seed(seed)
    q_block.eval()
    if relative and any(layer.weight_quantizer.mode == "soft" for layer in layers):
        raise ValueError("relative needs a block that is rounded to the nearest, this one is soft")
    if relative:
        round_weight *= _error_per_weight(q_block, layers, x_q, y, channel_axis)
    for layer in layers:
        layer.soften()
    weights = list(dict.fromkeys(layer.weight_quantizer for layer in layers))
    inputs = [layer.input_quantizer for layer in layers if layer.input_quantizer is not None]
    for quantizer in inputs:
        quantizer.train()
        quantizer.generator = generator
    logits = [quantizer.logits for quantizer in weights]
    scales = [quantizer.scale for quantizer in weights]
    ranges = [quantizer.scale for quantizer in inputs if quantizer.scale is not None]
    learned = [*logits, *scales, *ranges]
    floors = [(scale, SMALLEST_SCALE * scale.detach()) for scale in (*scales, *ranges)]
    optimizer = torch.optim.Adam(
        [
            {"params": parameters, "lr": rate}
            for parameters, rate in (
                (logits, lr_rounding),
                (scales, lr_scale),
                (ranges, lr_activation),
            )
            if parameters
        ]
    )
    # The rate of V stays; those of the scales, if there are any, fall.
    falling = [partial(_half_cosine, iters) for _ in optimizer.param_groups[1:]]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [_constant, *falling])
    errors = torch.empty(iters)
    for step in range(iters):
        rows = torch.randperm(len(x), generator=generator, device=x.device)[:batch]
        whole, quantised = x[rows], x_q[rows]
        draw = torch.rand(whole.shape, generator=generator, device=x.device)
        mixed = torch.where(draw < mix, whole, quantised)
        error = (q_block(mixed) - y[rows]).square().sum(channel_axis).mean()
        loss = error
        if step >= warmup * iters:
            exponent = annealed_exponent(step, iters, warmup=warmup)
            terms = [rounding_term(soft_rounding(v), exponent) for v in logits]
            loss = error + round_weight * torch.stack(terms).sum()
        # Only for the quantisers: the block's other parameters collect no gradient.
        for parameter, gradient in zip(learned, torch.autograd.grad(loss, learned), strict=True):
            parameter.grad = gradient
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for scale, floor in floors:
                scale.clamp_(min=floor)
        errors[step] = error.detach()
    for weight in weights:
        weight.harden()
    for quantizer in inputs:
        quantizer.eval()
        quantizer.generator = None
    for scale in (*scales, *ranges):
        scale.grad = None
    return errors


@torch.no_grad()
def _error_per_weight(
    q_block: nn.Module, layers: Sequence[FakeQuantised], x_q: Tensor, y: Tensor, channel_axis: int
) -> float:
    parts = zip(torch.split(x_q, 256), torch.split(y, 256), strict=True)
    errors = [(q_block(x.clone()) - target).square().sum(channel_axis) for x, target in parts]
    weights = {id(layer.weight_quantizer): layer.weight_quantizer for layer in layers}
    count = sum(quantizer.codes.numel() for quantizer in weights.values())
    return float(torch.cat(errors).mean()) / count


def _half_cosine(iters: int, step: int) -> float:
    return (1 + math.cos(math.pi * step / iters)) / 2


def _constant(step: int) -> float:
    return 1.0


def _check_reconstruction(
    x: Tensor, x_q: Tensor, y: Tensor, *, iters: int, batch: int, mix: float, warmup: float
) -> None:
    if iters < 0 or batch < 1:
        raise ValueError(f"iters is {iters}, batch is {batch}; allowed iters >= 0, batch >= 1")
    check_probability("mix", mix)
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is {warmup}; allowed 0 <= warmup < 1")
    if x.shape != x_q.shape or len(x) != len(y) or not len(x):
        raise ValueError(
            f"x, x_q, y have shapes {tuple(x.shape)}, {tuple(x_q.shape)}, {tuple(y.shape)}; "
            "x and x_q must be alike, and all three have the same samples, at least one"
        )
    for name, values in (("x", x), ("x_q", x_q), ("y", y)):
        if not bool(values.isfinite().all()):
            raise ValueError(f"{name} has entries that are NaN or infinite")
