"""Study 56: its steps as plain functions, one quick run, its claims and controls, bad input."""

import numpy as np
import pandas as pd
import pytest

from overparam.errors import ConfigError
from overparam.reporting.figures import draw_figures
from overparam.science import FIXED_FUNCTIONS, autoknots, search_cost, target_functions
from overparam.studies import load
from overparam.studies.science import autoknots as module
from overparam.study import Tables

RELS = {"rels": (1e-3, 1e-4), "named_rels": (1e-3, 1e-4)}
OWN = {"own_function": None, "own_interval": (0.0, 1.0), "own_scale": 0.0}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return load("autoknots").run(tmp_path_factory.mktemp("store"), profile="quick")


def posed(family, **overrides):
    options = {"seed": 0, "draws": 2, **OWN, **overrides}
    del options["own_function"]
    found = module.functions(family=family, **options)["functions"]
    return Tables.of({"functions": found.assign(family=family, seed=options["seed"])})


def searched(functions, family, method, **overrides):
    options = {"seed": 0, "n0": 6, "own_function": None, **RELS, **overrides}
    tables = module.searches(functions, family=family, method=method, **options)
    labels = {"family": family, "seed": 0, "method": method}
    return Tables.of({name: tables[name].assign(**labels) for name in tables})


@pytest.mark.parametrize("family", ["cosines", "rbf", "plateaus"])
def test_random_functions_are_fresh_in_each_seed(family):
    first, second = (posed(family, seed=seed)["functions"] for seed in (0, 1))
    assert len(set(first["params"]) | set(second["params"])) == 4
    assert (first["scale"] == 1).all() and (first["a"] == -1).all()
    more = posed(family, seed=1, draws=3)["functions"]
    assert more["params"].tolist()[:2] == second["params"].tolist()


@pytest.mark.parametrize("method", module.SEARCHES)
def test_every_search_keeps_all_evaluations(method):
    functions = posed("fixed")
    tables = searched(functions, "fixed", method)
    fits, knots = tables["fits"], tables["knots"]
    assert len(fits) == len(FIXED_FUNCTIONS) * 2 and fits["converged"].all()
    assert (fits["n_eval"] == fits["n_knots"]).all() and len(knots) == fits["n_knots"].sum()
    assert (fits["refine"] == module.SEARCHES[method].get("refine", 0)).all()
    if method == "refine4":
        own = knots[(knots["function_id"] == "tanh") & (knots["rel"] == 1e-4)]
        tanh = FIXED_FUNCTIONS["tanh"]
        np.testing.assert_array_equal(own["x"], autoknots(tanh.f, 0, 1, 1e-4, refine=4).x)


def test_four_point_leaves_out_tolerances_that_it_needs_too_many_knots_for():
    functions = posed("fixed")
    rels = {"rels": (1e-3,), "named_rels": (1e-3, 1e-8)}
    assert set(searched(functions, "fixed", "four_point", **rels)["fits"]["rel"]) == {1e-3}


@pytest.fixture(scope="module")
def halo():
    functions = posed("halo")
    searches = searched(functions, "halo", "adaptive")
    grids = module.grids(functions, searches, family="halo", seed=0, own_function=None)
    errors = module.errors(
        functions, searches, grids, family="halo", seed=0, grid_points=2001, own_function=None
    )
    return searches, grids, errors["errors"]


def test_grids_have_as_many_knots_as_the_search(halo):
    searches, grids, _ = halo
    ours = searches["fits"].set_index(["function_id", "rel"])["n_knots"]
    for method, some in grids["fits"].groupby("method"):
        theirs = some.set_index(["function_id", "rel"])["n_knots"]
        pd.testing.assert_series_equal(theirs, ours.loc[theirs.index])
        # ln R is negative at first: only R itself can have a logarithmic grid.
        assert method == "uniform" or set(some["function_id"]) == {"nfw in R", "hernquist in R"}
    x = grids["knots"].query("method == 'log_grid' and rel == 1e-3 and function_id == 'nfw in R'")
    np.testing.assert_allclose(np.diff(np.log(x["x"])), np.log(1e4) / (len(x) - 1))


def test_errors_are_those_of_the_splines_and_of_the_mean_inside(halo):
    errors = halo[2].set_index(["method", "function_id", "rel"]).sort_index()
    adaptive = errors.loc["adaptive"]
    assert (adaptive["max_ratio"] <= 1).all() and (adaptive["frac_violating"] == 0).all()
    assert np.allclose(
        adaptive["max_ratio"], adaptive["max_rel"] / adaptive.index.get_level_values(1)
    )
    # The mean inside comes from knots that were chosen for Sigma, not for its integral.
    assert (adaptive["mean_max_rel"] < 10 * adaptive.index.get_level_values(1)).all()
    assert errors.loc["uniform", "nfw in R", 1e-4]["max_ratio"] > 1000
    assert errors.loc["adaptive", "nfw in ln R", 1e-4]["n_eval"] == 63


def test_own_function_is_used(tmp_path):
    (tmp_path / "mine.py").write_text("import numpy as np\n\ndef f(x):\n    return np.exp(-x)\n")
    own = {"own_function": f"{tmp_path / 'mine.py'}:f", "own_interval": (0.5, 2.0)}
    functions = posed("own", **own)
    searches = searched(functions, "own", "adaptive", own_function=own["own_function"])
    knots = searches["knots"].query("rel == 1e-4")["x"]
    assert (knots.iloc[0], knots.iloc[-1]) == (0.5, 2.0)
    plan = module.study.plan(families=("own",), **own)
    assert {cell.values["family"] for cell in plan.cells if cell.values} == {"own"}


def test_own_table_says_which_rows_may_be_dropped(tmp_path):
    x = np.linspace(0, 3, 301)
    pd.DataFrame({"x": x, "y": x**3 + 1, "other": 0.0}).to_csv(tmp_path / "own.csv", index=False)
    table = module.table(own_file=tmp_path / "own.csv")
    rows = module.thinned(table, named_rels=(1e-3, 1e-6), own_scale=0.0, n0=6)["thinned"]
    assert rows.groupby("rel")["keep"].sum().tolist() == [6, 6]
    assert (rows["max_ratio"] <= 1).all() and len(rows) == 2 * 301
    pd.DataFrame({"x": x}).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(ValueError, match=r"no column \['y'\]"):
        module.table(own_file=tmp_path / "bad.csv")


def test_work_is_counted():
    costs = module.costs()["costs"].set_index("f")
    assert costs.loc["quad", "n_eval"] == costs.loc["closed form", "n_eval"] == 63
    assert costs.loc["closed form", "density_calls"] == 63
    assert costs.loc["quad", "density_calls"] > 100 * 63
    (nfw, *_) = target_functions("halo", posed("halo")["functions"])
    assert (
        costs["knots_refitted"] == search_cost(nfw.f, nfw.a, nfw.b, 1e-4)["knots_refitted"]
    ).all()


def test_every_claim_is_judged_and_every_control_fails(results):
    verdicts = {verdict.claim.name: verdict.verdict for verdict in results.verdicts}
    assert verdicts == {
        "meets_tolerance": "reproduced",
        "meets_tolerance_at_random": "undecided",
        "knots_where_needed": "reproduced",
        "uses_every_evaluation": "reproduced",
        "refinement_repairs": "undecided",
        "tabulates_halos": "reproduced",
        "search_is_cheap": "reproduced",
    }
    for verdict in results.verdicts:
        assert verdict.judgement.control_verdict in ("contradicted", "inconclusive")


def test_quick_sees_what_full_decides(results):
    verdicts = {verdict.claim.name: verdict.judgement for verdict in results.verdicts}
    shares = verdicts["meets_tolerance_at_random"].arm[::2]
    assert [part.n for part in shares] == [40, 40, 40]
    assert [part.label.partition(":")[0] for part in shares] == list(module.RANDOM)
    # Refinement never made a draw worse.
    assert all(part.effect == 0 for part in verdicts["refinement_repairs"].arm)


def test_claims_about_what_was_not_run_decide_nothing(results, judged_without):
    found = judged_without(results, family=["fixed"], method=["uniform"])
    verdicts = {name: judgement.verdict for name, judgement in found.items()}
    assert verdicts.pop("search_is_cheap") == "reproduced"
    assert verdicts.pop("uses_every_evaluation") == "reproduced"
    assert set(verdicts.values()) <= {"void", "inconclusive"}
    halos = judged_without(results, family=["halo"])
    assert not any(part.defined for part in halos["knots_where_needed"].arm)


def test_figures_are_drawn(results):
    figures = draw_figures(results.plan, results.store)
    assert figures["error"].tolist() == [""] * 6 and (figures["spec"] != "").all()


def test_an_evaluation_knob_retrains_nothing():
    def keys(plan, step):
        return [plan.key(cell) for cell in plan.cells_of(module.study.steps[step])]

    plain, changed = module.study.plan(), module.study.plan(grid_points=5001)
    for step in ("functions", "searches", "grids", "thinned"):
        assert keys(plain, step) == keys(changed, step)
    assert not set(keys(plain, "errors")) & set(keys(changed, "errors"))
    more = module.study.plan(seeds=6, methods=("adaptive", "refine4"))
    plain_cells = {c.values["method"] for c in plain.cells_of(module.study.steps["searches"])}
    assert "refine4" not in plain_cells
    assert len(set(keys(plain, "searches")) & set(keys(more, "searches"))) == len(
        module.Config().families
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"families": ("sines",)}, "families.*sines"),
        ({"families": ("own",)}, "own needs own_function"),
        ({"methods": ("refine1",)}, "methods must hold adaptive"),
        ({"methods": ("adaptive", "refine2")}, "methods.*refine2"),
        ({"rels": (1.0,)}, "rels"),
        ({"named_rels": (0.0,)}, "named_rels"),
        ({"n0": 3}, "n0=3.*>= 4"),
        ({"draws": 0}, "draws=0"),
        ({"own_interval": (1.0, 1.0)}, "own_interval must be a < b"),
        ({"own_scale": -1.0}, "own_scale"),
        ({"own_file": "missing.csv"}, "no file 'missing.csv'"),
        ({"own_function": "missing.py:f"}, "no file 'missing.py'"),
    ],
)
def test_bad_config_says_what_is_allowed(overrides, message):
    with pytest.raises(ConfigError, match=message):
        module.study.plan(**overrides)
