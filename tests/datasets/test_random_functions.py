"""Random function families against their formulas."""

import json

import numpy as np
import pytest

from overparam.datasets.random_functions import RandomFunction, random_function

KINDS = ("cosines", "polynomial", "rbf", "plateaus")
X = np.linspace(-1, 1, 21)


def expected(kind, p, x):
    if kind == "cosines":
        return sum(
            a * np.cos(2 * np.pi * nu * x)
            for a, nu in zip(p["amplitude"], p["frequency"], strict=True)
        )
    if kind == "polynomial":
        return np.polynomial.Polynomial.fit(p["x"], p["y"], len(p["x"]) - 1)(x)
    if kind == "rbf":
        return sum(
            w * np.exp(-((8 * (x - c)) ** 2)) for c, w in zip(p["centre"], p["weight"], strict=True)
        )
    rows = zip(p["amplitude"], p["centre"], p["width"], strict=True)
    return sum(a * np.tanh((x - c) / w) for a, c, w in rows)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_formula_and_survive_json(kind):
    for seed in range(5):
        f = random_function(kind, seed)
        scale = np.abs(f(X)).max() + sum(map(abs, f.parameters.get("weight", [])))
        np.testing.assert_allclose(f(X), expected(kind, f.parameters, X), atol=1e-11 * scale)
        again = RandomFunction(kind, json.loads(json.dumps(f.parameters)))
        np.testing.assert_array_equal(again(X), f(X))
        assert f(X.reshape(3, 7)).shape == (3, 7) and f(0.3).shape == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_depends_on_its_seed_alone(kind):
    assert random_function(kind, 3).parameters == random_function(kind, 3).parameters
    assert random_function(kind, 3).parameters != random_function(kind, 4).parameters


def test_long_vectors_are_taken_in_blocks():
    f = random_function("cosines", 0)
    x = np.linspace(-1, 1, 70_000)
    np.testing.assert_allclose(f(x)[[0, -1]], f(x[[0, -1]]), rtol=1e-13)


def test_interpolants_pass_through_their_points():
    f = random_function("polynomial", 0)
    np.testing.assert_allclose(f(f.parameters["x"]), f.parameters["y"], rtol=1e-10)
    draws = [random_function("rbf", seed) for seed in range(200)]
    heights = np.concatenate([g(g.parameters["centre"]) for g in draws])
    assert abs(heights.mean()) < 0.06 and abs(heights.std() - 1) < 0.06
    assert max(np.abs(g.parameters["weight"]).sum() for g in draws) <= 1e7


def test_distributions_of_the_parameters():
    cosines = [random_function("cosines", seed).parameters for seed in range(300)]
    assert np.std([p["amplitude"] for p in cosines]) == pytest.approx(1, rel=0.05)
    assert np.std([p["frequency"] for p in cosines]) == pytest.approx(1.5, rel=0.05)
    widths = np.log([random_function("plateaus", seed).parameters["width"] for seed in range(300)])
    assert np.log(1e-3) <= widths.min() and widths.max() <= np.log(1e-1)
    assert widths.mean() == pytest.approx(np.log(1e-2), abs=0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: random_function("spline", 0), "kind must be one of"),
        (lambda: random_function("rbf", -1), "seed"),
        (lambda: random_function("rbf", 0, terms=0), "terms"),
        (lambda: RandomFunction("rbf", {"centre": [1.0], "weight": []}), "equally long"),
        (lambda: RandomFunction("rbf", {"centre": [1.0]}), "equally long"),
        (lambda: RandomFunction("none", {}), "kind"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
