"""Study 56: how many spline knots does a tolerance ask for, and where?"""

from typing import Annotated, ClassVar

import altair as alt
import numpy as np
import pandas as pd
from pydantic import model_validator

from overparam.datasets import read_table
from overparam.evidence import discordant, exact, mean, per_group, proportion, where, worst
from overparam.measure import CallCounter
from overparam.reporting import charts
from overparam.science import (
    DRAWS_PER_SEED,
    FIXED_FUNCTIONS,
    HALO_RADII,
    HALOS,
    SEARCHES,
    fit_errors,
    grids_of_equal_size,
    knots_on_graph,
    needed_rows,
    projected_profile,
    read_fits,
    search_cost,
    search_targets,
    target_functions,
    target_table,
    violation_curves,
)
from overparam.study import DataFile, Factory, Field, OneOf, Paper, Study, StudyConfig, permuted
from overparam.theory import sigma_nfw

RANDOM = ("cosines", "rbf", "plateaus")
FOUR_POINT_REL = 1e-6  # it takes ten times the knots: smaller tolerances are left out
Tolerance = Annotated[float, Field(gt=0, lt=1)]
Family = Annotated[str, OneOf(("fixed", "halo", *RANDOM, "own"))]
Search = Annotated[str, OneOf(tuple(SEARCHES))]


class Config(StudyConfig):
    families: tuple[Family, ...] = Field(
        ("fixed", "halo", *RANDOM), description="functions to interpolate; own takes own_function"
    )
    draws: int = Field(
        40, ge=1, le=DRAWS_PER_SEED, description="functions of each random family, per seed"
    )
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


@study.generate(each=batches)
def functions(*, family, seed, draws, own_interval, own_scale):
    """Interval, scale, spacing and parameters of each function."""
    return target_table(family, seed, draws, interval=own_interval, scale=own_scale)


@study.train(each=[batches, {"method": "methods"}], volatile=("wall_s",))
def searches(functions, *, family, seed, method, rels, named_rels, n0, own_function, progress):
    """Adaptive knots: each function at each tolerance by one kind of search."""
    asked = rels if family in RANDOM else named_rels
    if method == "four_point":
        asked = [rel for rel in asked if rel >= FOUR_POINT_REL] or [max(asked)]
    targets = target_functions(family, functions["functions"], own_function)
    return search_targets(method, progress(targets, description=method), asked, n0)


@study.train(each=batches, volatile=("wall_s",))
def grids(functions, searches, *, family, seed, own_function):
    """Plain grids with as many knots as the adaptive search took."""
    fits = where(searches["fits"], method="adaptive")
    counts = fits.set_index(["function_id", "rel"])["n_knots"]
    targets = target_functions(family, functions["functions"], own_function)
    return grids_of_equal_size(targets, counts)


@study.evaluate(each=batches)
def errors(functions, searches, grids, *, family, seed, grid_points, own_function):
    """Every spline against its function on a dense grid; knots and errors of fixed functions."""
    fits = pd.concat([read_fits(searches), read_fits(grids)], ignore_index=True)
    targets = target_functions(family, functions["functions"], own_function)
    tables = {"errors": fit_errors(targets, fits, grid_points)}
    if family == "fixed":
        adaptive = where(fits, method="adaptive")
        tables["placed"] = knots_on_graph(targets, adaptive)
        tables["curves"] = violation_curves(targets, adaptive, grid_points)
    return tables


@study.evaluate(volatile=("f_seconds", "wall_s"))
def costs():
    """Work of the search beside that of a function which is an integral, counted and timed."""
    density = CallCounter(lambda r: 1 / (r * (1 + r) ** 2))
    functions = {
        "quad": (lambda u: projected_profile(density, np.exp(u)), density),
        "closed form": (lambda u: sigma_nfw(np.exp(u)), None),
    }
    rows = [
        {"f": name, **search_cost(f, *np.log(HALO_RADII), 1e-4, inner=inner)}
        for name, (f, inner) in functions.items()
    ]
    return pd.DataFrame(rows).rename(columns={"inner_calls": "density_calls", "seconds": "wall_s"})


@study.generate
def table(*, own_file):
    """Your table of x and y; without one, Runge's function at 1001 points."""
    if own_file is not None:
        own = read_table(own_file)
        if missing := {"x", "y"} - set(own.columns):
            raise ValueError(f"{own_file}: no column {sorted(missing)}; there are {list(own)}")
        return own[["x", "y"]]
    runge = FIXED_FUNCTIONS["runge"]
    x = runge.grid(1001)
    return pd.DataFrame({"x": x, "y": runge.f(x)})


@study.evaluate
def thinned(table, *, named_rels, own_scale, n0):
    """Which rows of the table a spline needs at each tolerance; the others may be dropped."""
    return needed_rows(table["table"], named_rels, own_scale, n0)


def worst_ratio(errors, method, **fits):
    """Largest error over tolerance of each of these fits by a method."""
    found = where(errors["errors"], method=method, **fits)
    return found.set_index(["seed", "function_id", "rel"])["max_ratio"].sort_index()


def gain_over_uniform(errors, method):
    """Error of a uniform grid of as many knots over that of a method, on the fixed functions."""
    uniform, ours = (worst_ratio(errors, name, family="fixed") for name in ("uniform", method))
    return (uniform / ours).rename("gain").reset_index()


@study.claim(
    "The tolerance asked for is met on functions with structure at one scale or several",
    source="abstract, single parameter; largest error over tolerance of the five fixed functions "
    "at most 1 (rel 1e-4, 1e-6) and at most 3 (rel 1e-8), without refinement",
    arm="adaptive",
    control="uniform",
)
def meets_tolerance(errors, *, arm):
    return [
        worst(found, region=(None, most), label=f"rel {rel:g}")
        for rel, most in ((1e-4, 1), (1e-6, 1), (1e-8, 3))
        for found in [worst_ratio(errors, arm, family="fixed", rel=rel)]
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
def knots_where_needed(errors, *, arm):
    gains = gain_over_uniform(errors, arm)
    return [
        worst(found["gain"], region=(least, None), label=f"gain on {name}")
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
    def violated(method, family):
        return worst_ratio(errors, method, family=family, rel=1e-5) > 1

    return [
        discordant(
            violated("adaptive", family),
            violated(arm, family),
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
    gain = gain_over_uniform(errors, "adaptive")
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
