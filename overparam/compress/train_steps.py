"""What compressors that train by themselves need beside ``train_model``."""

from torch import nn

from overparam.datasets import Batches
from overparam.training import Recipe


def training_steps(data: Batches, recipe: Recipe) -> int:
    """Steps that ``train_model`` takes: a last batch of one sample is left out beside others."""
    full, rest = divmod(len(data), recipe.batch_size)
    return recipe.epochs * (full + (rest > 1 or (rest == 1 and not full)))


def same_modes(model: nn.Module, original: nn.Module) -> nn.Module:
    """``model`` with every module in the mode of the one of the same name in ``original``."""
    for name, module in original.named_modules():
        model.get_submodule(name).training = module.training
    return model
