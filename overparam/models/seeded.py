"""Construction of models from explicit seeds."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

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
