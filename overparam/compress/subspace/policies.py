"""Cart-pole policies searched for in random subspaces, many candidates side by side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from overparam.compress.subspace.model import ProjectionKind, SubspaceModel
from overparam.datasets import cartpole_starts, cartpole_vec
from overparam.training import cem

SOLVED = 195.0
"""Mean return, of 200, at which cart-pole counts as solved."""

# Starts of one search come from the keys seed * _KEYS, seed * _KEYS + 1, ...
_KEYS = 1_000_000


class SubspacePolicies:
    """Policies ``theta0_r + P_r c`` of one architecture, with theta0 and P of each of R seeds.

    A policy pushes to the right where its output is positive (Li et al. 2018, section 3.3, with a
    search by the cross-entropy method in place of their deep reinforcement learning).

    Args:
        policy: Module of 4 inputs and 1 output; its weights are redrawn from each seed.
        dim: d.
        projection: Kind of P.
        seeds: One key per search: of theta0, P and the episodes.

    Raises:
        ValueError: No seeds; what :class:`SubspaceModel` refuses.

    Example:
        >>> policies = SubspacePolicies(nn.Linear(4, 1), 2, "dense", seeds=[0, 1])
        >>> policies.returns(np.zeros((2, 3, 2)), episodes=5, draw=0).shape
        (2, 3)
    """

    def __init__(
        self, policy: nn.Module, dim: int, projection: ProjectionKind, *, seeds: Sequence[int]
    ) -> None:
        if not seeds:
            raise ValueError("seeds must hold at least one seed")
        self.seeds = tuple(seeds)
        self._models = [
            SubspaceModel(policy, dim, projection, seed=s, init_seed=s) for s in self.seeds
        ]
        self._layout = self._models[0].layout
        self._policy = policy

    @property
    def full_dim(self) -> int:
        """D, the parameters of one policy."""
        return self._layout.full_dim

    @torch.no_grad()
    def returns(
        self, candidates: NDArray[np.float64], *, episodes: int, draw: int
    ) -> NDArray[np.float64]:
        """Mean return of each candidate over episodes that all candidates of its seed share.

        Args:
            candidates: (R, K, d) coordinates.
            episodes: Number of episodes.
            draw: Which episodes; another number gives fresh ones.

        Returns:
            (R, K), between 1 and 200.
        """
        found = torch.from_numpy(candidates).to(self._models[0].theta0)
        pairs = zip(self._models, found, strict=True)
        thetas = [model.theta0 + model.projection.matvec(c) for model, c in pairs]
        blocks = torch.split(torch.cat(thetas), self._layout.sizes, dim=1)
        weights = {
            name: block.reshape(-1, *shape)
            for name, shape, block in zip(
                self._layout.names, self._layout.shapes, blocks, strict=True
            )
        }

        def one(weights: dict[str, Tensor], state: Tensor) -> Tensor:
            output: Tensor = functional_call(self._policy, weights, (state,))
            return output

        outputs = vmap(one)

        def push_right(state: NDArray[np.float64]) -> NDArray[np.bool_]:
            pushes = outputs(weights, torch.from_numpy(state).to(found.dtype))[..., 0] > 0
            return np.asarray(pushes)

        starts = np.stack([cartpole_starts(episodes, s * _KEYS + draw) for s in self.seeds])
        each = np.repeat(starts, candidates.shape[1], axis=0)
        return cartpole_vec(push_right, each).mean(axis=1).reshape(candidates.shape[:2])


def search_policies(
    policy: nn.Module,
    dim: int,
    projection: ProjectionKind = "dense",
    *,
    seeds: Sequence[int],
    population: int = 64,
    generations: int = 25,
    episodes: int = 5,
    trials: int = 100,
) -> pd.DataFrame:
    """Balance the pole from a random subspace of a policy's weights, several seeds side by side.

    The cross-entropy method searches R^d; its answer, the mean of the last generation, is then
    tried in episodes that the search has not seen.

    Args:
        policy: module of 4 inputs and 1 output.
        dim: d.
        projection: kind of P.
        seeds: of theta0, P, the episodes and the search.
        population: candidates per generation.
        generations: of the search.
        episodes: per candidate.
        trials: fresh episodes of the answer.

    Returns:
        A row per seed: seed, D, reward (mean return of the trials; solved from :data:`SOLVED` on).

    Raises:
        ValueError: what :class:`SubspacePolicies` and :func:`overparam.training.cem` refuse.
    """
    policies = SubspacePolicies(policy, dim, projection, seeds=seeds)

    def score(candidates: NDArray[np.float64], generation: int) -> NDArray[np.float64]:
        return policies.returns(candidates, episodes=episodes, draw=generation)

    found = cem(score, dim, seeds=seeds, population=population, generations=generations)
    reward = policies.returns(found.mean[:, None], episodes=trials, draw=generations)[:, 0]
    return pd.DataFrame({"seed": list(seeds), "D": policies.full_dim, "reward": reward})
