"""The cart-pole against its equations of motion, and the rules of an episode."""

import math

import numpy as np
import pytest

from overparam.datasets.cartpole import (
    cartpole_failed,
    cartpole_starts,
    cartpole_step,
    cartpole_vec,
)


def test_accelerations_solve_the_equations_of_motion() -> None:
    """Two coupled equations, solved as a 2x2 system instead of in closed form.

    (M + m) x'' + m l a'' cos a = F + m l a'^2 sin a
    x'' cos a + 4/3 l a'' = g sin a
    """
    rng = np.random.default_rng(0)
    states = rng.uniform([-2, -3, -1.2, -3], [2, 3, 1.2, 3], (500, 4))
    right = rng.random(500) < 0.5
    _, v, a, w = states.T
    system = np.empty((500, 2, 2))
    system[:, 0, 0], system[:, 0, 1] = 1.1, 0.05 * np.cos(a)
    system[:, 1, 0], system[:, 1, 1] = np.cos(a), 4 / 3 * 0.5
    push = np.where(right, 10.0, -10.0)
    forces = np.stack([push + 0.05 * w**2 * np.sin(a), 9.8 * np.sin(a)], axis=1)
    cart, pole = np.linalg.solve(system, forces[..., None])[..., 0].T
    expected = states + 0.02 * np.stack([v, cart, w, pole], axis=1)
    np.testing.assert_allclose(cartpole_step(states, right), expected, rtol=0, atol=1e-12)


def test_mirror_symmetry() -> None:
    states = np.random.default_rng(1).normal(size=(50, 4))
    right = np.arange(50) % 2 == 0
    np.testing.assert_allclose(cartpole_step(-states, ~right), -cartpole_step(states, right))


def test_agrees_with_gymnasium() -> None:
    """States of gymnasium 1.4.0's CartPole-v1 every fourth step, from a given state and actions."""
    recorded = [
        [0.017529258817488926, -0.032483163003727, 0.042359121424821164, 0.06482610165135783],
        [0.014858005480308575, -0.4250565136710344, 0.04914573871219165, 0.702156688843041],
        [0.004165364276921751, 0.3515252924402395, 0.07244018280393714, -0.38419450498454183],
        [0.03217187304576362, 0.3478915632457822, 0.044277782670777546, -0.3032548964256134],
        [0.059935775039323236, -0.04418859210750095, 0.02151138515995395, 0.32301142606065597],
        [0.07977163815058566, 0.7348101902560502, 0.013184066126495591, -0.8151222255110417],
    ]
    state = np.array([0.02, -0.03, 0.04, 0.01])
    visited = []
    for action in [0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1] * 2:
        state = cartpole_step(state, np.bool_(action))
        visited.append(state)
    np.testing.assert_allclose(visited[3::4], recorded, rtol=0, atol=1e-6)


def test_limits() -> None:
    edge = 12 * math.pi / 180
    states = np.array([[2.4, 0, edge - 1e-9, 0], [2.41, 0, 0, 0], [0, 9, -edge - 1e-9, 9]])
    assert cartpole_failed(states).tolist() == [False, True, True]


def constant_right(state: np.ndarray) -> np.ndarray:
    return np.ones(state.shape[:-1], dtype=bool)


def test_episodes_equal_a_loop_over_them() -> None:
    starts = cartpole_starts(30, seed=3).reshape(5, 6, 4)

    def policy(state: np.ndarray) -> np.ndarray:
        return state[..., 2] > 0.0

    together = cartpole_vec(policy, starts, max_steps=120)
    for index in np.ndindex(5, 6):
        state, steps, failed = starts[index], 0, False
        while not failed and steps < 120:
            state = cartpole_step(state, policy(state))
            failed, steps = bool(cartpole_failed(state)), steps + 1
        assert together[index] == steps
    assert len(np.unique(together)) > 3


def test_finished_episodes_do_not_disturb_the_rest() -> None:
    good, doomed = cartpole_starts(2, seed=0)
    doomed[2], doomed[3] = 0.2, 50.0

    def balance(state: np.ndarray) -> np.ndarray:
        assert np.isfinite(state).all()
        assert (np.abs(state) < 200).all()
        return state[..., 2] + 0.2 * state[..., 3] + 0.05 * state[..., 0] + 0.1 * state[..., 1] > 0

    alone = cartpole_vec(balance, good[None])
    assert cartpole_vec(balance, np.stack([good, doomed])).tolist() == [alone[0], 1.0]
    assert alone[0] == 200


def test_returns_are_cut_and_bounded() -> None:
    falls = cartpole_vec(constant_right, cartpole_starts(100, seed=0))
    assert (falls >= 7).all()
    assert (falls <= 12).all()
    assert cartpole_vec(constant_right, cartpole_starts(2, seed=0), max_steps=3).tolist() == [3, 3]


def test_starts() -> None:
    starts = cartpole_starts(1000, seed=5)
    assert starts.shape == (1000, 4)
    assert np.abs(starts).max() <= 0.05
    assert np.abs(starts).max() > 0.049
    assert np.array_equal(starts, cartpole_starts(1000, seed=5))
    assert not np.array_equal(starts, cartpole_starts(1000, seed=6))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        cartpole_starts(0, seed=0)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 4\), got \(3, 5\)"):
        cartpole_vec(constant_right, np.zeros((3, 5)))
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        cartpole_vec(constant_right, np.zeros((3, 4)), max_steps=0)
    with pytest.raises(ValueError, match=r"actions of shape \(3,\), got \(\)"):
        cartpole_vec(lambda state: np.bool_(True), np.zeros((3, 4)))
