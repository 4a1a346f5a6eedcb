"""Magnitude score (Han et al., *Learning both weights and connections*, NeurIPS 2015)."""

from collections.abc import Mapping

from torch import Tensor

from overparam.compress.scores.view import Scorable, weight_view


def score_mag(model: Scorable, *, masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    r"""Score :math:`|w|` of every compressible weight; needs no data.

    Args:
        model: a module, or an ensemble (scores then start with the member axis E).
        masks: boolean masks by weight name; masked weights score 0.

    Returns:
        Scores by weight name, of the weights' shapes.

    Raises:
        TypeError, ValueError: the model has no compressible weight, or unknown masks.
    """
    return {name: weight.abs() for name, weight in weight_view(model, masks).weights.items()}
