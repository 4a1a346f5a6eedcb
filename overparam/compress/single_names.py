"""Models that use one module in several places."""

from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from overparam.compress.registry import CannotTreat
from overparam.compress.weights import WeightSlot, compressible_weights


@dataclass(frozen=True)
class SingleNames:
    """Where a model uses a module again.

    Weights are found by names, and a module in several places gives its weight several. With the
    further places empty every weight has one name, the first; such a model can be masked, copied
    and saved, but not called.

    Attributes:
        places: (name of the parent, name of the child, first name of the module) of each further
            place.
    """

    places: tuple[tuple[str, str, str], ...]

    def emptied(self, model: nn.Module) -> nn.Module:
        """A copy of ``model`` with the further places empty; ``model`` itself if there are none."""
        return self.empty(deepcopy(model)) if self.places else model

    def empty(self, model: nn.Module) -> nn.Module:
        """Empty the further places, in place."""
        for parent, child, _ in self.places:
            model.get_submodule(parent)._modules[child] = None
        return model

    def fill(self, model: nn.Module) -> nn.Module:
        """Put the modules back into the further places, in place."""
        for parent, child, first in self.places:
            model.get_submodule(parent)._modules[child] = model.get_submodule(first)
        return model


def single_names(model: nn.Module) -> SingleNames:
    """Find the modules that ``model`` uses in several places.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> single_names(nn.Sequential(layer, nn.ReLU(), layer)).places
        (('', '2', '0'),)
    """
    first: dict[int, str] = {id(model): ""}
    places: list[tuple[str, str, str]] = []

    def visit(module: nn.Module, name: str) -> None:
        for child_name, child in module._modules.items():
            if child is None:
                continue
            path = f"{name}.{child_name}" if name else child_name
            if id(child) in first:
                places.append((name, child_name, first[id(child)]))
            else:
                first[id(child)] = path
                visit(child, path)

    visit(model, "")
    return SingleNames(tuple(places))


def treatable_slots(model: nn.Module) -> list[WeightSlot]:
    """The compressible weights of a model, also of one that uses modules in several places.

    Raises:
        CannotTreat: there is none, or one can't be told apart from others; with the reason.
    """
    try:
        return compressible_weights(single_names(model).emptied(model))
    except (TypeError, ValueError) as error:
        raise CannotTreat(str(error)) from error
