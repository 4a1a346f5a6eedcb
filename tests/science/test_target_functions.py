"""Functions to interpolate: their tables, and the callables that come back."""

import json

import numpy as np
import pandas as pd
import pytest

from overparam.datasets import random_function
from overparam.science import (
    DRAWS_PER_SEED,
    FIXED_FUNCTIONS,
    TargetFunction,
    mean_inside_error,
    target_functions,
    target_table,
)
from overparam.store import Tables
from overparam.theory import sigma_bar_nfw, sigma_nfw


def stored(family, *args, **options):
    table = Tables.of({"functions": target_table(family, *args, **options)})
    return table["functions"]


def test_fixed_functions_are_those_of_their_formulas():
    x = np.linspace(0.0, 1.0, 11)
    formulas = {
        "exp": np.exp(x),
        "runge": 1 / (1 + 25 * x**2),
        "sine": np.sin(10 * x) + 2,
        "tanh": np.tanh(50 * (x - 0.3)) + 1.5,
        "sqrt": np.sqrt(x + 1e-3),
    }
    targets = target_functions("fixed", stored("fixed"))
    assert [t.name for t in targets] == list(formulas) == list(FIXED_FUNCTIONS)
    ends = {"exp": (0, 5), "runge": (-1, 1), "sine": (0, 3), "tanh": (0, 1), "sqrt": (0, 1)}
    for target in targets:
        np.testing.assert_allclose(target.f(x), formulas[target.name], rtol=1e-14)
        assert (target.a, target.b) == ends[target.name]
        assert (target.scale, target.space) == (0, "linear")
        assert np.isnan(target.derived_error(x, target.f(x), x))


@pytest.mark.parametrize("family", ["cosines", "polynomial", "rbf", "plateaus"])
def test_random_functions_come_back_from_their_parameters(family):
    table = stored(family, seed=2, draws=3)
    drawn = [random_function(family, 2 * DRAWS_PER_SEED + i) for i in range(3)]
    assert [json.loads(params) for params in table["params"]] == [f.parameters for f in drawn]
    assert table["function_id"].tolist() == [f"{family}-2-{i}" for i in range(3)]
    x = np.linspace(-1, 1, 7)
    for target, f in zip(target_functions(family, table), drawn, strict=True):
        np.testing.assert_array_equal(target.f(x), f(x))
        assert (target.a, target.b, target.scale) == (-1, 1, 1)
    pd.testing.assert_frame_equal(stored(family, 2, 2), table.head(2))


def test_halos_are_functions_of_ln_r_and_of_r():
    targets = {target.name: target for target in target_functions("halo", stored("halo"))}
    R = np.geomspace(1e-2, 1e2, 50)
    ln, linear = targets["nfw in ln R"], targets["nfw in R"]
    np.testing.assert_allclose(ln.f(np.log(R)), sigma_nfw(R), rtol=1e-13)
    np.testing.assert_array_equal(linear.f(R), sigma_nfw(R))
    np.testing.assert_allclose((np.exp(ln.a), np.exp(ln.b)), (linear.a, linear.b))
    assert (ln.space, linear.space) == ("linear", "log")
    rough = mean_inside_error(R, sigma_nfw(R), sigma_bar_nfw, R)
    assert 0 < linear.derived_error(R, sigma_nfw(R), R) == pytest.approx(rough, rel=1e-6)
    assert ln.derived_error(np.log(R), sigma_nfw(R), np.log(R)) == pytest.approx(rough, rel=1e-6)


def test_a_grid_is_spaced_as_the_function_says():
    linear = TargetFunction("f", np.exp, 1.0, 3.0)
    log = TargetFunction("f", np.exp, 1e-2, 1e2, space="log")
    np.testing.assert_allclose(linear.grid(5), [1, 1.5, 2, 2.5, 3])
    np.testing.assert_allclose(np.log10(log.grid(5)), [-2, -1, 0, 1, 2], atol=1e-15)
    assert log.grid(7).min() >= 1e-2 and log.grid(7).max() <= 1e2


def test_a_function_of_the_caller_s_or_where_it_is(tmp_path):
    (tmp_path / "mine.py").write_text("def f(x):\n    return 2 * x\n")
    table = stored("own", interval=(0.5, 2), scale=0.1)
    for own in (lambda x: 2 * x, f"{tmp_path / 'mine.py'}:f"):
        (target,) = target_functions("own", table, own)
        assert target.f(3.0) == 6.0
        assert (target.a, target.b, target.scale) == (0.5, 2.0, 0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: target_table("sines"), "family must be one of"),
        (lambda: target_table("rbf", draws=0), "draws must be in 1..10000, got 0"),
        (lambda: target_table("rbf", draws=DRAWS_PER_SEED + 1), "draws"),
        (lambda: target_table("rbf", -1), "seed"),
        (lambda: target_functions("own", target_table("own")), "own must be a function"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
