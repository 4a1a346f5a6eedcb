"""A lottery ticket of a network that ``train_model`` trains."""

from copy import deepcopy
from dataclasses import replace
from math import ceil, log

from torch import nn

from overparam.compress.lottery import LotteryTicket, lottery_rewind
from overparam.compress.single_names import single_names
from overparam.compress.train_steps import training_steps
from overparam.compress.weights import count_weights
from overparam.datasets import Batches
from overparam.training import Recipe, Task, train_model

REWIND = 0.05
"""Share of the first training after which the weights are those that tickets start from."""
CUT = 0.5
"""The most that a round cuts of the weights left."""


def train_ticket(
    initial: nn.Module, data: Batches, task: Task, recipe: Recipe, *, count: int, seed: int
) -> LotteryTicket:
    """Train, prune by magnitude, rewind to an early step, again and again (Frankle et al. 2020).

    The rewind point lies :data:`REWIND` of the way into the first training, which goes on from
    there and is the one before the first pruning. Rounds are the fewest of equal ratios that cut at
    most :data:`CUT` each.

    Args:
        initial: the network before it was trained; not changed.
        data: training samples.
        task: how samples reach the network, and its loss.
        recipe: of every training.
        count: weights kept in the end, 1..n.
        seed: of the order of the samples, the same in every round.

    Returns:
        The ticket, trained.

    Raises:
        ValueError: ``count`` out of range, no epochs, or a loss that is not finite.
    """
    names = single_names(initial)
    n = count_weights(names.emptied(initial))
    if not 1 <= count <= n:
        raise ValueError(f"count is {count}; allowed 1..{n}")
    if recipe.epochs < 1:
        raise ValueError("epochs is 0; a lottery ticket needs at least one")
    first, early = _first_training(initial, data, task, recipe, seed)

    def train(models: list[nn.Module], number: int) -> list[nn.Module]:
        if number == 0:
            return [names.empty(first)]
        for model in models:
            train_model(names.fill(model), data, task, recipe, seed=seed)
            names.empty(model)
        return models

    (found,) = lottery_rewind(
        [names.empty(early)], train, count=count, rounds=pruning_rounds(n, count)
    )
    return replace(found, ticket=names.fill(found.ticket), trained=names.fill(found.trained))


def pruning_rounds(n: int, count: int) -> int:
    """The fewest rounds of equal ratios from n to ``count`` weights that cut at most half each.

    Example:
        >>> [pruning_rounds(1024, count) for count in (1024, 1000, 512, 511, 32)]
        [1, 1, 1, 2, 5]
    """
    # Rounded, since a logarithm of 1/32 to the base 2 is 5 up to its last digit only.
    return max(1, ceil(round(log(count / n) / log(1 - CUT), 9)))


def _first_training(
    initial: nn.Module, data: Batches, task: Task, recipe: Recipe, seed: int
) -> tuple[nn.Module, nn.Module]:
    """The trained network, and what it was at the rewind point."""
    net = deepcopy(initial)
    rewind = max(1, round(REWIND * training_steps(data, recipe)))
    steps, early = 0, initial

    def on_step() -> None:
        nonlocal steps, early
        steps += 1
        if steps == rewind:
            early = deepcopy(net)

    train_model(net, data, task, recipe, seed=seed, on_step=on_step)
    return net, early
