"""Construction of models from explicit seeds, or with the weights that an artifact holds."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from overparam.store import Tables

Model = TypeVar("Model", bound=nn.Module)


def seeded(factory: Callable[[], Model], seed: int) -> Model:
    """The model that ``factory`` makes under this seed, whatever ran before.

    Initialisers draw from torch's global generator; it is seeded for the call and put back
    afterwards.

    Args:
        factory: builds the model, e.g. ``lambda: MLP((64, 32, 10))``.
        seed: non-negative integer.

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed={seed}; allowed >= 0")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return factory()


def with_weights(model: Model, state: Mapping[str, Tensor]) -> Model:
    """The model with these weights loaded, for use in an expression.

    Raises:
        RuntimeError: names or shapes do not fit (torch lists them).
    """
    model.load_state_dict(state)
    return model


def stored_members(
    factory: Callable[[], Model],
    tables: Tables,
    name: str,
    seeds: Sequence[int],
    **cell: str | float | bool,
) -> list[Model]:
    """The models of several seeds, with the weights that a step stored for them.

    Args:
        factory: makes one empty model.
        tables: what the step returned, with the weights as :meth:`Weights.by_seed` has them.
        name: of that table.
        seeds: of the members, in the order wanted.
        cell: further values that tell the weights of a seed apart, e.g. ``method="ssf"``.

    Raises:
        KeyError: there is no such table.
        ValueError: it holds no weights of a seed.
        RuntimeError: names or shapes do not fit (torch lists them).
    """
    return [with_weights(factory(), tables.weights(name, seed=s, **cell)) for s in seeds]
