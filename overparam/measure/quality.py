r"""How good predictions are, whom they fail, and how sure they are of themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BINS = 15
KINDS = ("classification", "regression")


@dataclass(frozen=True)
class WorstClass:
    """The class with the lowest share of right predictions.

    Attributes:
        accuracy: of its samples, the share predicted right.
        name: of the class.
        samples: how many it has.
    """

    accuracy: float
    name: str
    samples: int


def quality(
    outputs: Tensor,
    targets: Tensor,
    kind: str,
    *,
    dense: Tensor | None = None,
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """All measures of a model's outputs.

    Args:
        outputs: logits (N, C), or values (N,) or (N, k).
        targets: classes (N,), or values of as many numbers as the outputs.
        kind: ``classification`` or ``regression``.
        dense: outputs of the dense model, for ``agreement``.
        classes: names of the classes.

    Returns:
        ``accuracy``, ``f1`` (macro), ``ece``, ``worst_class`` (its accuracy) and
        ``worst_class_name``; or ``rmse``; and ``agreement`` where ``dense`` is given.

    Raises:
        ValueError: an unknown kind, or as the measures.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
    found: dict[str, Any] = {}
    if kind == "classification":
        worst = worst_class(outputs, targets, classes)
        found = {
            "accuracy": accuracy(outputs, targets),
            "f1": macro_f1(outputs, targets),
            "ece": expected_calibration_error(outputs, targets),
            "worst_class": worst.accuracy,
            "worst_class_name": worst.name,
        }
    else:
        found["rmse"] = rmse(outputs, targets)
    if dense is not None:
        found["agreement"] = agreement(outputs, dense, kind)
    return found


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Share of samples whose largest logit is the target's.

    Args:
        outputs: (N, C).
        targets: (N,), classes.

    Raises:
        ValueError: shapes that do not fit, no sample, or outputs that are not finite.

    Example:
        >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        0.5
    """
    _check_logits(outputs, targets)
    return float((outputs.argmax(1) == targets).double().mean())


def macro_f1(outputs: Tensor, targets: Tensor) -> float:
    r"""Mean over classes of :math:`F_1 = 2 TP / (2 TP + FP + FN)`.

    Classes that neither occur nor are predicted are left out.

    Args, Raises: as :func:`accuracy`.
    """
    _check_logits(outputs, targets)
    classes, predicted = outputs.shape[1], outputs.argmax(1)
    right = torch.bincount(targets[predicted == targets], minlength=classes).double()
    seen = torch.bincount(targets, minlength=classes) + torch.bincount(predicted, minlength=classes)
    return float((2 * right / seen)[seen > 0].mean())


def expected_calibration_error(outputs: Tensor, targets: Tensor, bins: int = BINS) -> float:
    r"""Expected calibration error :math:`\sum_b \frac{n_b}{N} |\mathrm{acc}_b - \mathrm{conf}_b|`.

    Guo et al., *On calibration of modern neural networks* (ICML 2017), equation 3: bins
    ((b-1)/B, b/B] of equal width over the largest softmax probability.

    Args:
        outputs: (N, C) logits.
        targets: (N,), classes.
        bins: B.

    Raises:
        ValueError: as :func:`accuracy`, or fewer than one bin.
    """
    _check_logits(outputs, targets)
    if bins < 1:
        raise ValueError(f"bins is {bins}; allowed >= 1")
    confidence, predicted = outputs.double().softmax(1).max(1)
    gap = (predicted == targets).double() - confidence
    number = (confidence * bins).ceil().long().clamp(1, bins) - 1
    return float(gap.new_zeros(bins).index_add(0, number, gap).abs().sum() / len(targets))


def worst_class(outputs: Tensor, targets: Tensor, classes: Sequence[str] = ()) -> WorstClass:
    """The class that is recognised least; the first of several equal ones.

    Args:
        outputs: (N, C).
        targets: (N,), classes; one without samples is left out.
        classes: their names; numbers if there are none.

    Raises:
        ValueError: as :func:`accuracy`, or another number of names than of classes.
    """
    _check_logits(outputs, targets)
    count = outputs.shape[1]
    if classes and len(classes) != count:
        raise ValueError(f"classes has {len(classes)} names; the outputs have {count} columns")
    samples = torch.bincount(targets, minlength=count)
    right = torch.bincount(targets[outputs.argmax(1) == targets], minlength=count)
    share = torch.where(samples > 0, right.double() / samples, torch.inf)
    worst = int(share.argmin())
    name = classes[worst] if classes else str(worst)
    return WorstClass(float(share[worst]), name, int(samples[worst]))


def rmse(outputs: Tensor, targets: Tensor) -> float:
    """Root of the mean squared error over all numbers.

    Args:
        outputs: as many numbers as the targets, in their order.
        targets: (N,) or (N, k).

    Raises:
        ValueError: shapes that do not fit, no sample, or outputs that are not finite.
    """
    if outputs.numel() != targets.numel() or not targets.numel():
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)}, targets {tuple(targets.shape)}; "
            "allowed: as many numbers, not none"
        )
    _check_finite(outputs)
    return float((outputs.reshape(targets.shape).double() - targets).square().mean().sqrt())


def agreement(outputs: Tensor, dense: Tensor, kind: str) -> float:
    r"""How far a model gives what the dense one gives.

    Classification: the share of samples with the same predicted class. Regression: the coefficient
    of determination :math:`1 - \sum (d - o)^2 / \sum (d - \bar d)^2`, 1 where both are equal.

    Args:
        outputs: of the model.
        dense: of the dense model, the same shape.
        kind: ``classification`` or ``regression``.

    Raises:
        ValueError: shapes that differ, no sample, an unknown kind, or outputs that are not finite.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
    if outputs.shape != dense.shape or not len(outputs):
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)}, those of the dense model "
            f"{tuple(dense.shape)}; allowed: the same, not empty"
        )
    _check_finite(outputs)
    if kind == "classification":
        return float((outputs.argmax(1) == dense.argmax(1)).double().mean())
    error = (outputs.double() - dense).square().sum()
    spread = (dense.double() - dense.double().mean(0)).square().sum()
    if not bool(spread > 0):
        return 1.0 if not bool(error > 0) else float("-inf")
    return float(1 - error / spread)


def _check_logits(outputs: Tensor, targets: Tensor) -> None:
    if outputs.ndim != 2 or targets.shape != (len(outputs),) or not len(targets):
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)}, targets {tuple(targets.shape)}; "
            "allowed: (N, C) and (N,), N >= 1"
        )
    _check_finite(outputs)


def _check_finite(outputs: Tensor) -> None:
    bad = int((~outputs.isfinite()).sum())
    if bad:
        raise ValueError(f"{bad} of {outputs.numel()} outputs are NaN or infinite")
