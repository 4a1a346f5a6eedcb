"""Lottery-ticket rewinding (Frankle et al., *Linear mode connectivity*, ICML 2020)."""

from torch import nn

from overparam.compress.lottery_training import train_ticket
from overparam.compress.mask_model import mask_budget
from overparam.compress.registry import CannotTreat, compressor
from overparam.compress.train_steps import same_modes
from overparam.datasets import Batches
from overparam.training import Recipe, Task


@compressor("Train, prune by magnitude, rewind to early weights, repeat.", finetune=False)
def lottery(
    model: nn.Module,
    *,
    ratio: float,
    data: Batches,
    task: Task,
    seed: int,
    recipe: Recipe,
    initial: nn.Module,
) -> nn.Module:
    """A ticket of the network before it was trained; see ``train_ticket``."""
    count = mask_budget(initial, ratio)
    if recipe.epochs < 1:
        raise CannotTreat("rewinding trains, and the recipe has no epochs")
    shapes, others = ({n: p.shape for n, p in net.named_parameters()} for net in (model, initial))
    if shapes != others:
        raise CannotTreat("rewinding starts from the network before training, of another shape")
    ticket = train_ticket(initial, data, task, recipe, count=count, seed=seed)
    return same_modes(ticket.trained, model)
