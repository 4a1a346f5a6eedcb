"""Cross-entropy method: derivative-free maximisation in R^d, several searches side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Objective = Callable[[NDArray[np.float64], int], NDArray[np.float64]]


@dataclass(frozen=True)
class CemResult:
    """Outcome of R searches.

    Attributes:
        mean: (R, d) centre of each final distribution: the answer.
        deviation: (R, d) its standard deviations.
        best: (R, d) the best single candidate seen (for a noisy objective a lucky one).
        best_score: (R,) its score.
        elite_scores: (R, generations) mean score of the elites.
        evaluations: Candidates that each search evaluated.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    best: NDArray[np.float64]
    best_score: NDArray[np.float64]
    elite_scores: NDArray[np.float64]
    evaluations: int


def cem(
    objective: Objective,
    dim: int,
    *,
    seeds: Sequence[int],
    population: int = 64,
    elites: int = 10,
    generations: int = 25,
    start_deviation: float = 10.0,
    least_deviation: float = 0.0,
) -> CemResult:
    """Maximise by refitting a diagonal Gaussian to the best candidates (Rubinstein 1999).

    Each generation draws ``x_i = mean + deviation * z_i``, i = 1..population, keeps the ``elites``
    best and sets mean and deviation to theirs (maximum likelihood). The search starts at zero.

    Args:
        objective: ``objective(candidates (R, population, d), generation) -> scores (R,
            population)``; NaN counts as the worst. Draw what is random in it from the generation
            number, so that a search does not depend on who else is searched for.
        dim: d.
        seeds: One Philox key per search; R of them.
        population: Candidates per generation.
        elites: How many of them refit the Gaussian.
        generations: Number of refits.
        start_deviation: Standard deviation of the first generation.
        least_deviation: Floor below which no deviation sinks (0: none).

    Raises:
        ValueError: No seeds; ``dim`` or ``generations`` below 1; elites outside ``[2,
            population]``; a start deviation that is not positive, a negative floor; scores of
            another shape.

    Example:
        >>> peak = np.array([3.0, -2.0])
        >>> found = cem(lambda x, generation: -((x - peak) ** 2).sum(-1), 2, seeds=[0])
        >>> bool(np.allclose(found.mean, peak, atol=1e-2))
        True
    """
    if not seeds:
        raise ValueError("seeds must hold at least one seed")
    if dim < 1 or generations < 1:
        raise ValueError(f"dim and generations must be at least 1, got {dim} and {generations}")
    if not 2 <= elites <= population:
        raise ValueError(f"elites must lie in [2, population = {population}], got {elites}")
    if not start_deviation > 0 or least_deviation < 0:
        raise ValueError(
            "start_deviation must be positive and least_deviation at least 0, got "
            f"{start_deviation} and {least_deviation}"
        )
    generators = [np.random.Generator(np.random.Philox(key=seed)) for seed in seeds]
    searches = len(generators)
    mean = np.zeros((searches, dim))
    deviation = np.full((searches, dim), float(start_deviation))
    best, best_score = mean.copy(), np.full(searches, -np.inf)
    elite_scores = np.empty((searches, generations))
    for generation in range(generations):
        noise = np.stack([g.standard_normal((population, dim)) for g in generators])
        candidates = mean[:, None] + deviation[:, None] * noise
        scores = np.asarray(objective(candidates, generation), dtype=np.float64)
        if scores.shape != (searches, population):
            raise ValueError(
                f"objective must return scores of shape {(searches, population)}, "
                f"got {scores.shape}"
            )
        scores = np.where(np.isnan(scores), -np.inf, scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :elites]
        chosen = np.take_along_axis(candidates, order[..., None], axis=1)
        chosen_scores = np.take_along_axis(scores, order, axis=1)
        mean = chosen.mean(axis=1)
        deviation = np.maximum(chosen.std(axis=1), least_deviation)
        elite_scores[:, generation] = chosen_scores.mean(axis=1)
        better = chosen_scores[:, 0] > best_score
        best = np.where(better[:, None], chosen[:, 0], best)
        best_score = np.where(better, chosen_scores[:, 0], best_score)
    return CemResult(mean, deviation, best, best_score, elite_scores, population * generations)
