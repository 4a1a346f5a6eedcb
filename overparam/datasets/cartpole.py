"""The inverted pendulum on a cart, vectorised over any number of episodes."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

GRAVITY = 9.8
CART_MASS = 1.0
POLE_MASS = 0.1
HALF_LENGTH = 0.5
FORCE = 10.0
TAU = 0.02
POSITION_LIMIT = 2.4
ANGLE_LIMIT = 12 * 2 * math.pi / 360

Policy = Callable[[NDArray[np.float64]], NDArray[np.bool_]]


def cartpole_starts(episodes: int, seed: int) -> NDArray[np.float64]:
    """Initial states (episodes, 4), uniform in [-0.05, 0.05].

    Raises:
        ValueError: ``episodes`` below 1.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    return np.random.Generator(np.random.Philox(key=seed)).uniform(-0.05, 0.05, (episodes, 4))


def cartpole_step(state: NDArray[np.float64], push_right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One explicit Euler step of 0.02 s (Barto, Sutton and Anderson 1983; constants of gymnasium).

    With ``q = (F + m l w^2 sin a) / (m + M)``:
    ``a'' = (g sin a - q cos a) / (l (4/3 - m cos^2 a / (m + M)))`` and
    ``x'' = q - m l a'' cos a / (m + M)``.

    Args:
        state: (..., 4): position, velocity, angle from upright (rad), angular velocity.
        push_right: (...) True for +10 N, False for -10 N.

    Returns:
        The next state (..., 4).
    """
    position, velocity, angle, spin = np.moveaxis(state, -1, 0)
    force = np.where(push_right, FORCE, -FORCE)
    sine, cosine = np.sin(angle), np.cos(angle)
    mass = CART_MASS + POLE_MASS
    common = (force + POLE_MASS * HALF_LENGTH * spin**2 * sine) / mass
    turning = (GRAVITY * sine - cosine * common) / (
        HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cosine**2 / mass)
    )
    acceleration = common - POLE_MASS * HALF_LENGTH * turning * cosine / mass
    return np.stack(
        [
            position + TAU * velocity,
            velocity + TAU * acceleration,
            angle + TAU * spin,
            spin + TAU * turning,
        ],
        axis=-1,
    )


def cartpole_failed(state: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the cart left +-2.4 or the pole leans by more than 12 degrees: (..., 4) -> (...)."""
    failed: NDArray[np.bool_] = (np.abs(state[..., 0]) > POSITION_LIMIT) | (
        np.abs(state[..., 2]) > ANGLE_LIMIT
    )
    return failed


def cartpole_vec(
    policy: Policy, starts: NDArray[np.float64], *, max_steps: int = 200
) -> NDArray[np.float64]:
    """Undiscounted return of episodes that run side by side: 1 for every step, the failing one too.

    Args:
        policy: Maps states (..., 4) of all episodes to actions (...), True for a push to the
            right. A batch of policies takes its own leading axes.
        starts: (..., 4) initial states.
        max_steps: Length at which an episode is cut; "solved" is a mean of 195 of 200.

    Returns:
        Returns (...), between 1 and ``max_steps``.

    Raises:
        ValueError: ``starts`` does not end in an axis of length 4, ``max_steps`` is below 1, or the
            policy's actions have another shape than the episodes.

    Example:
        >>> leaning = cartpole_vec(lambda state: state[..., 2] > 0, cartpole_starts(3, seed=0))
        >>> bool((leaning < 60).all())
        True
    """
    if starts.ndim < 1 or starts.shape[-1] != 4:
        raise ValueError(f"starts must have shape (..., 4), got {starts.shape}")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    state = starts.astype(np.float64)
    alive = np.ones(state.shape[:-1], dtype=np.bool_)
    returns = np.zeros(state.shape[:-1])
    for _ in range(max_steps):
        actions = policy(state)
        if actions.shape != alive.shape:
            raise ValueError(
                f"the policy must return actions of shape {alive.shape}, got {actions.shape}"
            )
        # A finished episode stays where it failed: its state would otherwise grow without bound.
        state = np.where(alive[..., None], cartpole_step(state, actions), state)
        returns += alive
        alive &= ~cartpole_failed(state)
        if not alive.any():
            break
    return returns
