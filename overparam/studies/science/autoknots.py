"""Study 56: how many spline knots does a tolerance ask for, and where?"""

import json
import time
from dataclasses import asdict
from types import SimpleNamespace
from typing import Annotated, ClassVar

import altair as alt
import numpy as np
import pandas as pd
from pydantic import model_validator
from scipy.interpolate import CubicSpline

from overparam.datasets import RandomFunction, random_function, read_table
from overparam.evidence import discordant, exact, mean, per_group, proportion, where, worst
from overparam.measure import CallCounter, spline_violation, violation_curve
from overparam.reporting import charts
from overparam.science import (
    autoknots,
    autoknots_four_point,
    fit_tables,
    grid_spline,
    mean_inside,
    projected_profile,
    thin_table,
)
from overparam.study import (
    DataFile,
    Factory,
    Field,
    OneOf,
    Paper,
    Study,
    StudyConfig,
    load_object,
    permuted,
)
from overparam.theory import sigma_bar_hernquist, sigma_bar_nfw, sigma_hernquist, sigma_nfw

# Functions with their intervals.
FIXED = {
    "exp": (np.exp, 0, 5),
    "runge": (lambda x: 1 / (1 + 25 * x**2), -1, 1),
    "sine": (lambda x: np.sin(10 * x) + 2, 0, 3),
    "tanh": (lambda x: np.tanh(50 * (x - 0.3)) + 1.5, 0, 1),
    "sqrt": (lambda x: np.sqrt(x + 1e-3), 0, 1),
}
# Surface density Sigma, and its mean inside R.
HALOS = {"nfw": (sigma_nfw, sigma_bar_nfw), "hernquist": (sigma_hernquist, sigma_bar_hernquist)}
RADII = (1e-2, 1e2)
DRAWS = 10_000  # the most in a seed, so that no two seeds share one
FOUR_POINT_REL = 1e-6  # it takes ten times the knots: smaller tolerances are left out
RANDOM = ("cosines", "rbf", "plateaus")
SEARCHES = {
    "adaptive": {},
    "refine1": {"refine": 1},
    "refine1_ns0": {"refine": 1, "refine_ns": 0.0},
    "refine4": {"refine": 4},
    "refine4_ns0": {"refine": 4, "refine_ns": 0.0},
    "value_only": {"integral_test": False},
    "four_point": {},
}
FIT = ["function_id", "method", "rel", "refine", "n_knots", "n_eval"]
Tolerance = Annotated[float, Field(gt=0, lt=1)]
Family = Annotated[str, OneOf(("fixed", "halo", *RANDOM, "own"))]
Search = Annotated[str, OneOf(tuple(SEARCHES))]


class Config(StudyConfig):
    families: tuple[Family, ...] = Field(
        ("fixed", "halo", *RANDOM), description="functions to interpolate; own takes own_function"
    )
    draws: int = Field(40, ge=1, le=DRAWS, description="functions of each random family, per seed")
    methods: tuple[Search, ...] = Field(
        ("adaptive", "refine1", "value_only", "four_point"), description="searches"
    )
    rels: tuple[Tolerance, ...] = Field((1e-4, 1e-5), description="tolerances, random families")
    named_rels: tuple[Tolerance, ...] = Field(
        (1e-3, 1e-4, 1e-5, 1e-6, 1e-8), description="tolerances of all other functions and tables"
    )
    n0: int = Field(6, ge=4, description="first knots; features between them stay unseen")
    grid_points: int = Field(20_001, ge=2, description="points at which errors are measured")
    own_function: Factory | None = Field(None, description="FILE.py:f, vectorised, for own")
    own_interval: tuple[float, float] = Field((0.0, 1.0), description="a and b of own_function")
    own_scale: float = Field(0.0, ge=0, description="magnitude below which your f counts as small")
    own_file: DataFile | None = Field(
        None, description="your table with columns x, y: which rows may be dropped?"
    )
    profiles: ClassVar = {
        "quick": {"seeds": 1},
        "full": {
            "draws": 100,
            "methods": tuple(SEARCHES),
            "rels": (1e-3, 1e-4, 1e-5, 1e-6, 1e-8),
            "grid_points": 100_001,
        },
    }
    needs: ClassVar = {"own": ("own_function",)}

    @model_validator(mode="after")
    def _search_and_interval_are_there(self):
        if "adaptive" not in self.methods:
            raise ValueError("methods must hold adaptive: plain grids get as many knots as it")
        if not self.own_interval[0] < self.own_interval[1]:
            raise ValueError(f"own_interval must be a < b, got {self.own_interval}")
        return self


study = Study(
    "autoknots",
    theme="science",
    config=Config,
    question="How many knots does a cubic spline of a costly function need to meet a tolerance, "
    "and where should they lie?",
    paper=Paper(
        title="AutoKnots: Adaptive Knot Allocation for Spline Interpolation",
        authors="Sandro D. P. Vitenti, Fernando de Simoni, Mariana Penna-Lima, Eduardo J. Barroso",
        venue="Astronomy and Computing",
        year=2025,
        arxiv="2412.13423",
        doi="10.1016/j.ascom.2025.100970",
        code="https://github.com/NumCosmo/NumCosmo",
    ),
)


def batches(config):
    """A seed is a fresh batch of draws; functions that are not random come once."""
    seeds = config.seed_values()
    return [
        {"family": family, "seed": seed}
        for family in config.families
        for seed in (seeds if family in RANDOM else seeds[:1])
    ]


def searched(config):
    """Every batch by every search."""
    return [{**cell, "method": method} for cell in batches(config) for method in config.methods]


@study.generate(each=batches)
def functions(*, family, seed, draws, own_interval, own_scale):
    """Interval, scale, spacing and parameters of each function."""
    if family in RANDOM:
        drawn = [random_function(family, seed * DRAWS + i) for i in range(draws)]
        params = [json.dumps(f.parameters) for f in drawn]
        rows = [(f"{family}-{seed}-{i}", -1, 1, 1.0, "linear", p) for i, p in enumerate(params)]
    elif family == "halo":
        ln = tuple(np.log(RADII))
        rows = [(f"{name} in ln R", *ln, 0.0, "linear", "{}") for name in HALOS]
        rows += [(f"{name} in R", *RADII, 0.0, "log", "{}") for name in HALOS]
    elif family == "own":
        rows = [("own", *own_interval, own_scale, "linear", "{}")]
    else:
        rows = [(name, a, b, 0.0, "linear", "{}") for name, (_, a, b) in FIXED.items()]
    columns = ["function_id", "a", "b", "scale", "space", "params"]
    return pd.DataFrame(rows, columns=columns).astype({"a": float, "b": float})


def callable_of(row, own_function):
    """The function that a row of ``functions`` describes."""
    if row.family in RANDOM:
        return RandomFunction(row.family, json.loads(row.params))
    if row.family == "halo":
        name, _, variable = row.function_id.partition(" in ")
        sigma, _ = HALOS[name]
        return sigma if variable == "R" else lambda u: sigma(np.exp(u))
    return load_object(own_function) if row.family == "own" else FIXED[row.function_id][0]


def timed(search, *arguments, **options):
    """What a call returns, and its seconds."""
    start = time.perf_counter()
    return search(*arguments, **options), time.perf_counter() - start


def run_all(functions, calls):
    """Tables of fits and knots from (function, rel, timed result)."""
    found = [({"function_id": name, "rel": rel}, result) for name, rel, (result, _) in calls]
    tables = fit_tables(found)
    seconds = [spent for _, _, (_, spent) in calls]
    scales = functions["functions"].set_index("function_id")["scale"]
    scale = scales.loc[tables["fits"]["function_id"]].to_numpy()
    return tables["fits"].assign(scale=scale, wall_s=seconds), tables["knots"]


@study.train(each=searched, volatile=("wall_s",))
def searches(functions, *, family, seed, method, rels, named_rels, n0, own_function, progress):
    """Adaptive knots: each function at each tolerance by one kind of search."""
    asked = rels if family in RANDOM else named_rels
    how = {"refine": 0, "refine_ns": 1.0} | SEARCHES[method]
    if method == "four_point":
        asked = [rel for rel in asked if rel >= FOUR_POINT_REL] or [max(asked)]
    calls = []
    for row in progress(list(functions["functions"].itertuples()), description=method):
        f, options = callable_of(row, own_function), {}
        if method != "four_point":
            options = {"n0": n0, "space": row.space, **how}
        search = autoknots_four_point if method == "four_point" else autoknots
        for rel in asked:
            found = timed(search, f, row.a, row.b, rel, row.scale, **options)
            calls.append((row.function_id, rel, found))
    fits, knots = run_all(functions, calls)
    return {
        "fits": fits.assign(refine=how["refine"], refine_ns=how["refine_ns"]),
        "knots": knots,
    }


@study.train(each=batches, volatile=("wall_s",))
def grids(functions, searches, *, family, seed, own_function):
    """Plain grids with as many knots as the adaptive search took."""
    fits = searches["fits"]
    counts = fits[fits["method"] == "adaptive"].set_index(["function_id", "rel"])["n_knots"]
    tables = {"fits": [], "knots": []}
    for method, space in (("uniform", "linear"), ("log_grid", "log")):
        calls = [
            (row.function_id, rel, timed(grid_spline, f, row.a, row.b, n, space))
            for row in functions["functions"].itertuples()
            if space == "linear" or row.a > 0
            for f in [callable_of(row, own_function)]
            for rel, n in counts[row.function_id].items()
        ]
        if calls:
            for name, table in zip(tables, run_all(functions, calls), strict=True):
                tables[name].append(table.assign(method=method))
    return {name: pd.concat(several, ignore_index=True) for name, several in tables.items()}


@study.evaluate(each=batches)
def errors(functions, searches, grids, *, family, seed, grid_points, own_function):
    """Every spline against its function on a dense grid; knots and errors of fixed functions."""
    fits = pd.concat([searches["fits"], grids["fits"]], ignore_index=True)
    x, added = (
        np.split(
            np.concatenate([searches.array("knots", column), grids.array("knots", column)]),
            np.cumsum(fits["n_knots"])[:-1],
        )
        for column in ("x", "sweep_added")
    )
    found, placed, curves = [], [], []
    for row in functions["functions"].itertuples():
        f = callable_of(row, own_function)
        spaced = np.geomspace if row.space == "log" else np.linspace
        grid = np.clip(spaced(row.a, row.b, grid_points), row.a, row.b)
        values = f(grid)
        own = fits[fits["function_id"] == row.function_id]
        for index, fit in zip(own.index, own[FIT].to_dict("records"), strict=True):
            spline = CubicSpline(x[index], y := f(x[index]))
            fitted = SimpleNamespace(spline=spline, x=x[index])
            rel = fit["rel"]
            seen = spline_violation(fitted, lambda _, v=values: v, rel, row.scale, grid=grid)
            inside = mean_inside_error(row, x[index], y, grid) if family == "halo" else np.nan
            found.append({**fit, **asdict(seen), "mean_max_rel": inside})
            if family == "fixed" and fit["method"] == "adaptive":
                which = {"function_id": row.function_id, "rel": rel}
                where = {"x": x[index], "y": y, "sweep_added": added[index]}
                placed.append(pd.DataFrame(where).assign(**which))
                ratio = violation_curve(fitted, lambda _, v=values: v, rel, grid=grid)
                at = (np.arange(len(ratio)) + 0.5) / len(ratio)
                curves.append(pd.DataFrame({"x": at, "ratio": ratio}).assign(**which))
    tables = {"errors": pd.DataFrame(found).rename(columns={"violating": "frac_violating"})}
    if family == "fixed":
        tables |= {"placed": pd.concat(placed, ignore_index=True)}
        tables |= {"curves": pd.concat(curves, ignore_index=True)}
    return tables


def mean_inside_error(row, knots, sigma, grid):
    """Largest relative error of the mean density inside R that follows from a fit of Sigma."""
    name, _, variable = row.function_id.partition(" in ")
    radius = np.exp if variable == "ln R" else np.asarray
    R, at, bar = radius(knots), radius(grid), HALOS[name][1]
    return np.abs(mean_inside(R, sigma, bar(R[0]), np.clip(at, R[0], R[-1])) / bar(at) - 1).max()


@study.evaluate(volatile=("f_seconds", "wall_s"))
def costs():
    """Work of the search beside that of a function which is an integral, counted and timed."""
    density = CallCounter(lambda r: 1 / (r * (1 + r) ** 2))
    integrated = CallCounter(lambda u: projected_profile(density, np.exp(u)))
    closed = CallCounter(lambda u: sigma_nfw(np.exp(u)))
    rows = []
    for name, f, inner in (("quad", integrated, density), ("closed form", closed, closed)):
        found, seconds = timed(autoknots, f, *np.log(RADII), 1e-4)
        refitted = sum(sweep.knots for sweep in found.history) + len(found.x)
        rows.append((name, found.n_eval, inner.calls, refitted, f.seconds, seconds))
    columns = ["f", "n_eval", "density_calls", "knots_refitted", "f_seconds", "wall_s"]
    return pd.DataFrame(rows, columns=columns)


@study.generate
def table(*, own_file):
    """Your table of x and y; without one, Runge's function at 1001 points."""
    if own_file is not None:
        own = read_table(own_file)
        if missing := {"x", "y"} - set(own.columns):
            raise ValueError(f"{own_file}: no column {sorted(missing)}; there are {list(own)}")
        return own[["x", "y"]]
    x = np.linspace(-1, 1, 1001)
    return pd.DataFrame({"x": x, "y": FIXED["runge"][0](x)})


@study.evaluate
def thinned(table, *, named_rels, own_scale, n0):
    """Which rows of the table a spline needs at each tolerance; the others may be dropped."""
    rows = table["table"]
    found = [(rel, thin_table(rows["x"], rows["y"], rel, own_scale, n0)) for rel in named_rels]
    return pd.concat(
        [rows.assign(rel=rel, keep=t.keep, max_ratio=t.max_ratio) for rel, t in found],
        ignore_index=True,
    )


def worst_ratio(errors, method, rel, family):
    """Largest error over tolerance of each function."""
    fits = where(errors["errors"], method=method, rel=rel, family=family)
    return fits.set_index(["seed", "function_id"])["max_ratio"].sort_index()


@study.claim(
    "The tolerance asked for is met on functions with structure at one scale or several",
    source="abstract, single parameter; largest error over tolerance of the five fixed functions "
    "at most 1 (rel 1e-4, 1e-6) and at most 3 (rel 1e-8), without refinement",
    arm="adaptive",
    control="uniform",
)
def meets_tolerance(errors, *, arm):
    return [
        worst(worst_ratio(errors, arm, rel, "fixed"), region=(None, most), label=f"rel {rel:g}")
        for rel, most in ((1e-4, 1), (1e-6, 1), (1e-8, 3))
    ]


@study.claim(
    "The tolerance is met nearly everywhere on random functions",
    source="abstract and random tests; rel 1e-5, refine 1, each family by itself: a violation in "
    "at most 0.15 of the draws, and at most 1e-3 of the points",
    arm="refine1",
    control="uniform",
    decided_at="full",
)
def meets_tolerance_at_random(errors, *, arm):
    def evidence(fits):
        draws = where(fits, method=arm)
        violated = int((draws["max_ratio"] > 1).sum())
        share, points = "draws with a violation", "points in violation"
        return [
            proportion(violated, len(draws), region=(None, 0.15), label=share),
            mean(draws["frac_violating"], region=(None, 1e-3), label=points),
        ]

    fits = where(errors["errors"], rel=1e-5, family=RANDOM)
    return per_group(fits, "family", evidence)


@study.claim(
    "Knots go where they are needed",
    source="abstract; error of a uniform grid of as many knots over ours, at every tolerance, at "
    "least 20 on tanh and 1,000 on sqrt (no gain is claimed on exp, Runge and sine)",
    arm="adaptive",
    control="uniform",
)
def knots_where_needed(errors, *, arm, named_rels):
    gains = pd.concat(
        worst_ratio(errors, "uniform", rel, "fixed") / worst_ratio(errors, arm, rel, "fixed")
        for rel in named_rels
    ).reset_index()
    return [
        worst(found["max_ratio"], region=(least, None), label=f"gain on {name}")
        for name, least in (("tanh", 20), ("sqrt", 1000))
        for found in [where(gains, function_id=name)]
    ]


@study.claim(
    "No evaluation is thrown away",
    source="every evaluation is a knot: n_eval = n_knots in every fit, exactly",
    arm="every search",
    control=permuted("n_knots"),
)
def uses_every_evaluation(errors, *, arm):
    fits = errors["errors"]
    wasted = (fits["n_eval"] - fits["n_knots"]).abs()
    return worst(wasted, region=(None, 0), label="evaluations that are no knots")


@study.claim(
    "Refinement repairs bins that closed too early",
    source="warning on plateaus and the option refine; among draws at rel 1e-5 whose outcome "
    "changes, those that get worse are the rarer (exact McNemar), >= 200 draws",
    arm="refine1",
    control="value_only",
    decided_at="full",
)
def refinement_repairs(errors, *, arm):
    return [
        discordant(
            worst_ratio(errors, "adaptive", 1e-5, family) > 1,
            worst_ratio(errors, arm, 1e-5, family) > 1,
            region=(None, 0.5),
            label=f"{family}: share that gets worse",
        )
        for family in ("cosines", "rbf")
    ]


@study.claim(
    "Projected halos are tabulated within 1e-4 by at most 130 evaluations",
    source="abstract, Sigma(R) of NFW and Hernquist with knots even in ln R",
    arm="ln R",
    control="R",
)
def tabulates_halos(errors, *, arm):
    halos = [f"{name} in {arm}" for name in HALOS]
    chosen = where(errors["errors"], method="adaptive", rel=1e-4, function_id=halos)
    return [
        worst(chosen["max_rel"], region=(None, 1e-4), label="relative error"),
        worst(chosen["n_eval"], region=(None, 130), label="evaluations"),
    ]


@study.claim(
    "The work of the search is negligible beside a costly function",
    source="rebuilding the table costs under 10 % of a function that integrates; counted as knots "
    "refitted per call of the integrand",
    arm="quad",
    control="closed form",
)
def search_is_cheap(costs, *, arm):
    found = costs["costs"].set_index("f").loc[arm]
    share = found["knots_refitted"] / found["density_calls"]
    return exact(share, region=(None, 0.1), label=f"knots refitted per call, {arm}")


@study.figure("Where the knots go", caption="tanh(50 (x - 0.3)) + 1.5 at rel 1e-4, by sweep.")
def knots_by_sweep(errors):
    knots = where(errors["placed"], function_id="tanh", rel=1e-4)
    color = alt.Color("sweep_added:Q", title="sweep", scale=alt.Scale(scheme="viridis"))
    chart = alt.Chart(knots[["x", "y", "sweep_added"]]).mark_point()
    return chart.encode(x="x:Q", y=alt.Y("y:Q", title="f(x)"), color=color)


@study.figure("Error over tolerance along x", caption="rel 1e-4, no refinement; above 1 misses.")
def error_along_x(errors):
    curves = where(errors["curves"], rel=1e-4)
    shown = charts.lines(
        curves[curves["ratio"] > 0], "x", "ratio", "function_id", log_y=True,
        x_title="(x - a) / (b - a)", y_title="error / tolerance",
    )  # fmt: skip
    return shown + charts.reference_line(1)


@study.figure("Knots against tolerance", caption="A cubic spline needs rel^(-1/4).")
def knots_against_tolerance(errors):
    fits = where(errors["errors"], family=["fixed", "halo"], method="adaptive")
    return charts.lines(fits, "rel", "n_knots", "function_id", log_x=True, log_y=True)


@study.figure("Gain over a uniform grid", caption="Error of the grid over ours; 1 is no gain.")
def gains(errors):
    fits = where(errors["errors"], family="fixed")
    table = fits.pivot_table(index=["function_id", "rel"], columns="method", values="max_ratio")
    gain = (table["uniform"] / table["adaptive"]).rename("gain").reset_index()
    shown = charts.lines(gain, "rel", "gain", "function_id", log_x=True, log_y=True)
    return shown + charts.reference_line(1)


@study.figure("Violations with and without refinement", caption="Random functions, rel 1e-5.")
def violations(errors):
    shown = where(errors["errors"], family=RANDOM, rel=1e-5, method=["adaptive", "refine1"])
    title = "largest error / tolerance"
    counts = charts.histogram(shown, "max_ratio", "method", log_x=True, title=title)
    return counts + charts.reference_line(1, axis="x")


@study.figure("Rows of the table that are needed", caption="Share to keep at each tolerance.")
def rows_needed(thinned):
    kept = thinned["thinned"].groupby("rel", as_index=False)["keep"].mean()
    return charts.lines(kept, "rel", "keep", log_x=True, y_title="share of rows kept")
