"""SynFlow (Tanaka et al., *Pruning neural networks without any data*, NeurIPS 2020)."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from overparam.compress.masks import Masks
from overparam.compress.prune_iterative import prune_iterative
from overparam.compress.scores.view import Scorable, WeightView, scoring_mode, weight_view
from overparam.training.ensemble import Ensemble


def score_synflow(
    model: Scorable, x: Tensor, *, masks: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    r"""Synaptic flow :math:`|w \, \partial R / \partial w|`, :math:`R = 1^T f_{|\theta|}(1)`.

    All parameters and floating buffers are replaced by their absolute values, the input by ones;
    everything runs in double precision with batch norm in eval mode. The model itself is not
    changed. In a network of bias-free layers with ReLU every layer's scores sum to R.

    Args:
        model: a module, or an ensemble (x and the scores then start with the member axis E).
        x: an example input (B, ...); only its shape is used.
        masks: boolean masks by weight name; masked weights score 0.

    Returns:
        float64 scores by weight name, of the weights' shapes.

    Raises:
        ValueError: the double-precision pass gives NaN or infinity.
        TypeError, ValueError: the model has no compressible weight, or unknown masks.
    """
    return _synaptic_flow(_absolute(weight_view(model, masks)), x)


def synflow_masks(
    model: Scorable,
    x: Tensor,
    keep: float | None = None,
    *,
    count: int | None = None,
    rounds: int = 100,
) -> Masks:
    """The SynFlow algorithm: score, cut to keep^(t/rounds), and again, 100 times.

    One cut by the same score would empty whole layers; the iteration never cuts the last path.

    Args:
        model: a module, or an ensemble (masks then start with the member axis E).
        x: an example input (B, ...), for an ensemble (E, B, ...); only its shape is used.
        keep: fraction of weights kept in (0, 1], or
        count: their number.
        rounds: number of iterations.

    Raises:
        ValueError: see :func:`score_synflow` and :func:`prune_iterative`.
    """
    view = _absolute(weight_view(model))

    def scorer(model: Scorable, *, masks: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        return _synaptic_flow(view.under(masks or {}), x)

    return prune_iterative(model, scorer, keep, rounds, "exponential", count=count)


def _absolute(view: WeightView) -> WeightView:
    return replace(view, weights={name: w.double().abs() for name, w in view.weights.items()})


def _synaptic_flow(view: WeightView, x: Tensor) -> dict[str, Tensor]:
    weights = {name: w.clone().requires_grad_() for name, w in view.weights.items()}
    example = x.narrow(1 if isinstance(view.model, Ensemble) else 0, 0, 1)
    ones = torch.ones_like(example, dtype=torch.float64 if x.is_floating_point() else x.dtype)
    with scoring_mode(view.model, evaluate=True):
        outputs = view.outputs(weights, ones, change=lambda t: t.double().abs())
        if not bool(outputs.isfinite().all()):
            raise ValueError(_not_finite(weights, outputs))
        gradients = torch.autograd.grad(
            outputs.sum(), list(weights.values()), materialize_grads=True
        )
    scores = {
        name: (g * w.detach()).abs_()
        for (name, w), g in zip(weights.items(), gradients, strict=True)
    }
    for name, score in scores.items():
        if not bool(score.amax().isfinite()):
            raise ValueError(f"SynFlow's scores of {name!r} are not finite in double precision")
    return scores


def _not_finite(weights: Mapping[str, Tensor], outputs: Tensor) -> str:
    broken = [name for name, weight in weights.items() if not bool(weight.isfinite().all())]
    where = f"the weights {broken} are not finite" if broken else "all weights are finite"
    return (
        f"SynFlow's output (shape {tuple(outputs.shape)}) is NaN or infinite in double precision "
        f"with absolute parameters and an input of ones; {where}"
    )
