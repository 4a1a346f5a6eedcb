"""Random scores: the negative control of every pruning method."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from overparam.compress.scores.view import Scorable, weight_view
from overparam.training.ensemble import Ensemble


def score_random(
    model: Scorable, *, seed: int | Sequence[int], masks: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Independent uniform scores in (0, 1]; masked weights score 0.

    Args:
        model: a module, or an ensemble (scores then start with the member axis E).
        seed: of the scores; for an ensemble one seed per member.
        masks: boolean masks by weight name.

    Returns:
        float64 scores by weight name, of the weights' shapes; a member's depend on its own seed
        alone.

    Raises:
        ValueError: not one seed per member.
        TypeError, ValueError: the model has no compressible weight, or unknown masks.
    """
    view = weight_view(model, masks)
    if not isinstance(model, Ensemble):
        if not isinstance(seed, int):
            raise ValueError(f"seed is {seed!r}; a single model needs one integer")
        draws = _draw(view.weights, seed)
    else:
        seeds = [seed] if isinstance(seed, int) else list(seed)
        if len(seeds) != model.size:
            raise ValueError(
                f"seed has {len(seeds)} entries; the ensemble has {model.size} members"
            )
        members = [_draw({n: w[0] for n, w in view.weights.items()}, s) for s in seeds]
        draws = {name: torch.stack([member[name] for member in members]) for name in view.weights}
    return {
        name: torch.where(view.masks[name], draw, 0.0) if name in view.masks else draw
        for name, draw in draws.items()
    }


def _draw(weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (1 - torch.rand(weight.shape, dtype=torch.float64, generator=generator)).to(
            weight.device
        )
        for name, weight in weights.items()
    }
