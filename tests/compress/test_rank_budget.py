"""Ranks of many layers from one budget, against brute force."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overparam.compress.rank_budget import RankChoices, choose_ranks, ranks_for_energy


def layer_of(rows, columns, energies):
    """A dense last choice after the ranks that save something, as the factorisations have it."""
    size = rows * columns
    shares = np.cumsum(sorted(energies, reverse=True)) / sum(energies)
    ranks = [r for r in range(1, len(shares) + 1) if r * (rows + columns) < size]
    cost = [r * (rows + columns) for r in ranks] + [size]
    return RankChoices(np.array(cost), np.array([*shares[: len(ranks)], 1.0]))


def brute_force(layers, budget):
    best = -1.0
    for choice in product(*(range(len(layer.cost)) for layer in layers)):
        cost = sum(int(layer.cost[c]) for layer, c in zip(layers, choice, strict=True))
        if cost <= budget:
            best = max(best, kept(layers, choice))
    return best


def kept(layers, choice):
    return sum(float(layer.energy[c]) for layer, c in zip(layers, choice, strict=True))


def spent(layers, choice):
    return sum(int(layer.cost[c]) for layer, c in zip(layers, choice, strict=True))


spectra = st.lists(st.floats(0.01, 10), min_size=8, max_size=8)


@given(spectra, spectra, spectra, st.floats(0, 1))
def test_equal_layers_without_a_dense_jump_get_the_optimum(a, b, c, share):
    layers = [layer_of(8, 8, values) for values in (a, b, c)]
    layers = [RankChoices(layer.cost[:-1], layer.energy[:-1]) for layer in layers]
    budget = round(48 + share * 96)
    chosen = choose_ranks(layers, budget)
    assert spent(layers, chosen) <= budget
    assert kept(layers, chosen) == pytest.approx(brute_force(layers, budget), abs=1e-12)


@given(spectra, spectra, spectra, st.floats(0, 1))
def test_layers_of_any_shape_come_within_one_step_of_the_optimum(a, b, c, share):
    layers = [layer_of(8, 12, a), layer_of(16, 9, b), layer_of(30, 8, c)]
    least, most = (sum(int(layer.cost[i]) for layer in layers) for i in (0, -1))
    budget = round(least + share * (most - least))
    chosen = choose_ranks(layers, budget)
    assert spent(layers, chosen) <= budget
    # The greedy walk stops before the first step that does not fit; it is at most a dense layer.
    widest = max(int(layer.cost[-1] - layer.cost[0]) for layer in layers)
    assert kept(layers, chosen) >= brute_force(layers, max(budget - widest, least)) - 1e-12
    # Nothing that is left over would buy more energy for one layer alone.
    left = budget - spent(layers, chosen)
    for layer, here in zip(layers, chosen, strict=True):
        affordable = layer.energy[layer.cost <= layer.cost[here] + left]
        assert affordable.max() <= layer.energy[here]


def test_a_dense_choice_that_pays_is_taken_at_once():
    steep = RankChoices(np.array([10, 20, 22]), np.array([0.1, 0.2, 1.0]))
    flat = RankChoices(np.array([10, 20, 40]), np.array([0.5, 0.6, 1.0]))
    assert choose_ranks([steep, flat], 32) == [2, 0]
    assert choose_ranks([steep, flat], 31) == [1, 0]


def test_a_budget_below_the_smallest_ranks_is_refused():
    with pytest.raises(ValueError, match="budget is 19; the smallest ranks need 20"):
        choose_ranks([RankChoices(np.array([20, 30]), np.array([0.5, 1]))], 19)


@pytest.mark.parametrize(("energy", "choice"), [(0.5, 0), (0.7, 0), (0.71, 1), (1.0, None)])
def test_the_fewest_parameters_that_keep_an_energy(energy, choice):
    layer = RankChoices(np.array([10, 20]), np.array([0.7, 0.95]))
    assert ranks_for_energy(layer, energy) == choice


@pytest.mark.parametrize("energy", [0, 1.1, float("nan")])
def test_an_energy_out_of_range_is_refused(energy):
    with pytest.raises(ValueError, match="allowed 0 < energy <= 1"):
        ranks_for_energy(RankChoices(np.array([10]), np.array([0.7])), energy)
