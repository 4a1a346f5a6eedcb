"""Pruning in rounds: score, cut a little, score what is left."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from overparam.compress.masks import Masks, join_scores, resolve_count, split_masks, top_entries
from overparam.compress.scores.view import Scorable, weight_view
from overparam.training.ensemble import Ensemble

Schedule = Callable[[int, int, float], float]


class Scorer(Protocol):
    """A score of the weights that a model has left under ``masks``, e.g. ``score_mag``."""

    def __call__(
        self, model: Scorable, *, masks: Mapping[str, Tensor] | None
    ) -> Mapping[str, Tensor]:
        """Scores by weight name; those of masked weights are ignored."""


SCHEDULES: dict[str, Schedule] = {
    "exponential": lambda t, rounds, keep: keep ** (t / rounds),
    "linear": lambda t, rounds, keep: 1 - (1 - keep) * t / rounds,
}


def prune_iterative(
    model: Scorable,
    scorer: Scorer,
    keep: float | None = None,
    rounds: int = 100,
    schedule: str | Schedule = "exponential",
    *,
    count: int | None = None,
) -> Masks:
    """Masks after ``rounds`` rounds of scoring the remaining weights and cutting the lowest.

    After round t a fraction schedule(t, rounds, keep) of all weights is left: keep^(t/rounds)
    (``"exponential"``, equal ratios) or 1 - (1 - keep) t/rounds (``"linear"``, equal steps). What
    is cut never comes back; the last round leaves the exact count.

    Args:
        model: a module, or an ensemble (scores and masks then start with the member axis E); not
            changed.
        scorer: called as ``scorer(model, masks=masks)``; data is bound with ``functools.partial``.
        keep: fraction of weights kept in the end, in (0, 1], or
        count: their number.
        rounds: number of rounds >= 1.
        schedule: a name, or a function (t, rounds, keep) -> fraction that does not increase with t.

    Returns:
        Boolean masks by weight name.

    Raises:
        ValueError: rounds < 1, unknown schedule, ``keep`` or ``count`` out of range, a NaN score.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; allowed >= 1")
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule is {schedule!r}; allowed {tuple(SCHEDULES)} or a function")
        schedule = SCHEDULES[schedule]
    stacked = isinstance(model, Ensemble)
    joint, shapes = join_scores(weight_view(model).weights, stacked)
    n = joint.shape[-1]
    final = resolve_count(n, keep, count)
    kept = torch.ones_like(joint, dtype=torch.bool)
    # Positions still alive, ascending: each round looks at these alone, not at all n again.
    alive = torch.arange(n, device=joint.device).expand(joint.shape)
    for t in range(1, rounds + 1):
        fraction = 0.0 if t == rounds else schedule(t, rounds, final / n)
        left = max(final, min(alive.shape[-1], round(fraction * n)))
        scores, _ = join_scores(scorer(model, masks=split_masks(kept, shapes)), stacked)
        best = top_entries(scores.gather(-1, alive), left)
        alive = alive[best].view(*joint.shape[:-1], left)
        kept = torch.zeros_like(kept).scatter_(-1, alive, True)
    return split_masks(kept, shapes)
