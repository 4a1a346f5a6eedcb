"""Movement pruning (Sanh, Wolf & Rush, NeurIPS 2020)."""

from torch import nn

from overparam.compress.mask_model import mask_budget
from overparam.compress.movement import movement_prune
from overparam.compress.registry import CannotTreat, compressor
from overparam.datasets import Batches
from overparam.training import Recipe, Task


@compressor("Prune weights that move towards zero while fine-tuning: movement.", finetune=False)
def movement(
    model: nn.Module, *, ratio: float, data: Batches, task: Task, seed: int, recipe: Recipe
) -> nn.Module:
    """Hard top-k over all layers, the kept fraction along a cubic; see ``movement_prune``."""
    count = mask_budget(model, ratio)
    if recipe.epochs < 1:
        raise CannotTreat("movement pruning trains, and the recipe has no epochs")
    return movement_prune(model, data, task, recipe, count=count, seed=seed)
