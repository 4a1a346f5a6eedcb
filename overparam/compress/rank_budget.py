"""Ranks of many layers from one budget of parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RankChoices:
    """What a layer can be replaced by.

    Attributes:
        cost: parameters of each choice, (k,) int.
        energy: share of the squared Frobenius norm of the weight that each keeps, (k,) in 0..1.
    """

    cost: NDArray[np.int64]
    energy: NDArray[np.float64]


def cheapest(layer: RankChoices) -> int:
    """The choice with the fewest parameters; of equal ones the one that keeps most."""
    return int(np.lexsort((-layer.energy, layer.cost))[0])


def choose_ranks(layers: Sequence[RankChoices], budget: int) -> list[int]:
    r"""Maximise the kept energy, summed over the layers, within a budget of parameters.

    Every layer starts at its cheapest choice. Then come the steps along the upper concave hulls of
    (cost, energy), in the order of gain per parameter: as long as each step fits, no allocation
    keeps more energy with the parameters spent so far. What the budget has left goes to the single
    step of most gain per parameter that still fits, again and again.

    Energies are shares of each layer's own, so a layer does not lose its rank because its weights
    are small, which a normalisation after it would undo.

    Args:
        layers: the choices of each layer.
        budget: parameters of all layers together.

    Returns:
        The number of the choice of each layer.

    Raises:
        ValueError: the cheapest choices need more than the budget.

    Example:
        >>> layer = RankChoices(np.array([10, 20, 30]), np.array([0.7, 0.9, 1.0]))
        >>> choose_ranks([layer, layer], 50)
        [2, 1]
    """
    chosen = [cheapest(layer) for layer in layers]
    left = budget - sum(int(layer.cost[c]) for layer, c in zip(layers, chosen, strict=True))
    if left < 0:
        raise ValueError(f"budget is {budget}; the smallest ranks need {budget - left}")
    steps = [
        (slope, number, target)
        for number, layer in enumerate(layers)
        for slope, target in _hull_steps(layer, chosen[number])
    ]
    stopped = set()
    # Slopes fall along a hull, and the sort is stable: a layer's steps stay in their order.
    for _, number, target in sorted(steps, key=lambda step: -step[0]):
        extra = int(layers[number].cost[target] - layers[number].cost[chosen[number]])
        if number not in stopped and extra <= left:
            chosen[number], left = target, left - extra
        else:
            stopped.add(number)
    while step := _best_step(layers, chosen, left):
        number, target = step
        left -= int(layers[number].cost[target] - layers[number].cost[chosen[number]])
        chosen[number] = target
    return chosen


def ranks_for_energy(layer: RankChoices, energy: float) -> int | None:
    """The choice with the fewest parameters that keeps this share of the energy, if there is one.

    Raises:
        ValueError: energy outside (0, 1].
    """
    if not 0 < energy <= 1:
        raise ValueError(f"energy is {energy}; allowed 0 < energy <= 1")
    # Sums of squares reach 1 up to rounding only.
    enough = np.flatnonzero(layer.energy >= energy - 1e-12)
    if not enough.size:
        return None
    return int(enough[cheapest(RankChoices(layer.cost[enough], layer.energy[enough]))])


def _pareto(layer: RankChoices, start: int) -> NDArray[np.int64]:
    """Choices that cost more and keep more than all cheaper ones, from ``start`` on."""
    order = np.lexsort((-layer.energy, layer.cost))
    energy = layer.energy[order]
    best = np.concatenate([[-np.inf], np.maximum.accumulate(energy)[:-1]])
    kept = order[energy > best]
    return kept[layer.cost[kept] >= layer.cost[start]]


def _hull_steps(layer: RankChoices, start: int) -> list[tuple[float, int]]:
    """Steps along the upper concave hull: gain per parameter, and where the step leads."""
    hull: list[int] = []
    slopes: list[float] = []
    for point in _pareto(layer, start):
        while hull:
            slope = _slope(layer, hull[-1], point)
            # Equal steps stay single steps, whatever the last digit of their slopes.
            if not slopes or slope <= slopes[-1] * (1 + 1e-9):
                break
            hull.pop()
            slopes.pop()
        if hull:
            slopes.append(min([slope, *slopes[-1:]]))
        hull.append(int(point))
    return list(zip(slopes, hull[1:], strict=True))


def _slope(layer: RankChoices, here: int, there: int) -> float:
    return float(
        (layer.energy[there] - layer.energy[here]) / (layer.cost[there] - layer.cost[here])
    )


def _best_step(
    layers: Sequence[RankChoices], chosen: Sequence[int], left: int
) -> tuple[int, int] | None:
    best, step = 0.0, None
    for number, (layer, here) in enumerate(zip(layers, chosen, strict=True)):
        extra, gain = layer.cost - layer.cost[here], layer.energy - layer.energy[here]
        fits = np.flatnonzero((gain > 0) & (extra > 0) & (extra <= left))
        if not fits.size:
            continue
        slopes = gain[fits] / extra[fits]
        top = int(slopes.argmax())
        if slopes[top] > best:
            best, step = float(slopes[top]), (number, int(fits[top]))
    return step
