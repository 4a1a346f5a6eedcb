"""Study 01: what does an over-estimated rank cost gradient descent on matrix sensing?"""

from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import PositiveFloat, model_validator

from overparam.datasets import (
    SensingOperator,
    load_sensing_problem,
    low_rank_ground_truth,
    positive_semidefinite,
    problem_kinds,
    read_sensing,
    sensing_tables,
)
from overparam.evidence import loglog_slope, mean, ratio, worst
from overparam.measure import TooFewPointsError, fit_decay, steps_until
from overparam.reporting import charts
from overparam.study import DataFile, Field, Paper, Study, StudyConfig
from overparam.theory import sensing_rates
from overparam.training import (
    accelerated_factored_gd,
    factored_gd,
    log_spaced_steps,
    random_factors,
)

FACTOR_RANKS = {"r": (1, 0), "r+1": (1, 1), "2r": (2, 0), "4r": (4, 0)}
RUN = ["operator", "kappa", "factor_rank", "method", "alpha", "seed"]
ARRIVED = 1e-16
CELLS = {
    "operator": "operators",
    "kappa": "kappas",
    "factor_rank": "factor_ranks",
    "seed": "seeds",
}


class Config(StudyConfig):
    operators: tuple[Literal["gaussian", "identity", "own"], ...] = Field(
        ("gaussian",), description="measurements: Gaussian, all entries (m = infinity), your own"
    )
    kappas: tuple[Annotated[float, Field(ge=1)], ...] = Field(
        (1.0,), description="condition numbers of M; own data have theirs"
    )
    size: int = Field(20, ge=2, description="n of the Gaussian operator")
    rank: int = Field(2, ge=1, description="r of the Gaussian operator, and your guess for own M")
    samples: int = Field(400, ge=1, description="m, measurements of the Gaussian operator")
    identity_size: int = Field(50, ge=2, description="n of the identity operator")
    identity_rank: int = Field(3, ge=1, description="r of the identity operator")
    own_file: DataFile | None = Field(
        None, description="your .npz with A (m, n1, n2), y (m,), optional M (n1, n2), for own"
    )
    noise: float = Field(0.0, ge=0, description="standard deviation of errors added to y")
    factor_ranks: tuple[Literal["r", "r+1", "2r", "4r"], ...] = Field(
        ("r", "2r"), description="k, the rank of the factors"
    )
    alpha: PositiveFloat = Field(0.5, description="start scale of all that is run at one scale")
    alphas: tuple[PositiveFloat, ...] = Field((0.5, 0.3, 0.15), description="start scales")
    imbalance: float = Field(1 / 3, ge=0, description="scale of G over that of F at the start")
    step_size: float = Field(0.1, gt=0, lt=2, description="eta, below 2/||M||")
    symmetric_steps: int = Field(8000, ge=8, description="T of X X^T")
    steps: int = Field(6000, ge=8, description="T of F G^T")
    accelerated_steps: int = Field(3000, ge=8, description="T with the modified step")
    tau: float = Field(0.1, gt=0, lt=1, description="relative residual that triggers the step")
    beta: PositiveFloat | None = Field(None, description="F^T F = beta^2 I; sqrt(sigma_r) if none")
    stop_below: float = Field(1e-14, ge=0, description="residual at which a run has arrived")
    floor: PositiveFloat = Field(1e-24, description="squared errors below it are rounding")
    tail: float = Field(0.25, gt=0, lt=1, description="rates are fitted from tail T' to T'")
    profiles: ClassVar = {
        "quick": {},
        "full": {
            "operators": ("gaussian", "identity"),
            "kappas": (1.0, 3.0),
            "factor_ranks": ("r", "r+1", "2r", "4r"),
            "symmetric_steps": 20_000,
            "steps": 20_000,
            "accelerated_steps": 20_000,
            "seeds": 8,
        },
    }

    @model_validator(mode="after")
    def _ranks_fit(self):
        sides = {"gaussian": (self.size, self.rank)}
        sides["identity"] = self.identity_size, self.identity_rank
        for operator in set(self.operators) & set(sides):
            n, r = sides[operator]
            k = max(factor_rank_of(word, r) for word in self.factor_ranks)
            if k > n:
                raise ValueError(f"{operator}: factors of rank k = {k} exceed the size n = {n}")
        if "own" in self.operators and self.own_file is None:
            raise ValueError("operators=own needs own_file, an .npz with A and y")
        return self


study = Study(
    "matrix-sensing",
    theme="optimization",
    config=Config,
    question="Gradient descent recovers a matrix of rank r from linear measurements through "
    "factors of rank k > r. How much slower than k = r is it, and what brings the speed back?",
    paper=Paper(
        title="How Over-Parameterization Slows Down Gradient Descent in Matrix Sensing: The Curses "
        "of Symmetry and Initialization",
        authors="Nuoya Xiong, Lijun Ding, Simon S. Du",
        venue="ICLR",
        year=2024,
        arxiv="2310.01769",
    ),
)


def factor_rank_of(word, r):
    times, plus = FACTOR_RANKS[word]
    return times * r + plus


@study.generate(each={"operator": "operators", "kappa": "kappas", "seed": "seeds"}, batch=16)
def problems(
    *, operator, kappa, seeds, size, rank, samples, identity_size, identity_rank, own_file, noise
):
    """For each seed the sensing matrices, a symmetric and an asymmetric M, and y = A(M)."""
    n, r = (identity_size, identity_rank) if operator == "identity" else (size, rank)
    if operator == "own":
        own = load_sensing_problem(own_file)
        M = np.full(own.op.shape, np.nan) if own.truth is None else own.truth
        kinds = ("asymmetric", "symmetric") if positive_semidefinite(M) else ("asymmetric",)
        tables = sensing_tables(own.op, dict.fromkeys(kinds, (M, own.y)), seeds)
    else:
        m = samples if operator == "gaussian" else None
        op = SensingOperator((n, n), m, operator, seed=seeds)
        pairs = {}
        for kind in ("asymmetric", "symmetric"):
            M = low_rank_ground_truth(n, n, r, kappa, kind == "symmetric", seeds)
            pairs[kind] = M, op.measure(M, noise, seeds)
        tables = sensing_tables(op, pairs, seeds)
    return {**tables, "problems": tables["problems"].assign(r=r)}


def descend(algorithm, starts, problems, seeds, factor_rank, eta, T, **options):
    """Run one algorithm from starts (method, kind of M, alpha, ratio), all seeds at once."""
    starts = pd.DataFrame(starts, columns=["method", "kind", "alpha", "ratio"])
    starts = starts[starts["kind"].isin(problem_kinds(problems))].reset_index(drop=True)
    if starts.empty:
        return None
    posed = read_sensing(problems, seeds, starts["kind"])
    r = int(problems["problems"]["r"].iloc[0])
    k = factor_rank_of(factor_rank, r)
    scales = zip(starts["alpha"], starts["ratio"], strict=True)
    drawn = [random_factors(posed.op.shape, k, a, imbalance=b, seed=seeds) for a, b in scales]
    F, G = (np.stack(factors, axis=1) for factors in zip(*drawn, strict=True))
    if (balanced := starts["method"].to_numpy() == "balanced").any():
        G[:, balanced] = F[:, balanced]
    found = algorithm(
        posed.op,
        posed.y,
        (F,) if options.get("parameterization") == "symmetric" else (F, G),
        eta,
        T,
        truth=posed.truth,
        record_at=np.union1d(log_spaced_steps(T), [T // 4]),
        **options,
    )
    frame = found.to_frame(pd.DataFrame({"seed": seeds}), starts)
    return frame.assign(n=posed.op.shape[0], r=r, k=k, eta=eta, T=T)


@study.train(each=CELLS, batch=16)
def descents(
    problems, *, operator, kappa, factor_rank, seeds, alpha, alphas, imbalance, step_size,
    symmetric_steps, steps, accelerated_steps, tau, beta, stop_below,
):  # fmt: skip
    """All algorithms side by side, on the same problems and from the same random directions."""
    run = partial(
        descend, problems=problems, seeds=seeds, factor_rank=factor_rank, eta=step_size,
        stop_below=stop_below,
    )  # fmt: skip
    plain = [
        *(("asymmetric", "asymmetric", a, imbalance) for a in alphas),
        ("near_balanced", "asymmetric", alpha, 1.0),
        ("balanced", "symmetric", alpha, 1.0),
        ("asymmetric_for_symmetric", "symmetric", alpha, imbalance),
    ]
    switched = partial(run, accelerated_factored_gd, T=accelerated_steps, tau=tau, beta=beta)
    found = [
        run(
            factored_gd, [("symmetric", "symmetric", alpha, 1.0)],
            T=symmetric_steps, parameterization="symmetric",
        ),
        run(factored_gd, plain, T=steps),
        switched([("accelerated", "asymmetric", a, imbalance) for a in alphas]),
        switched(
            [("unscaled", "asymmetric", a, imbalance) for a in alphas],
            modified_step=lambda F, G, beta: (F, G),
        ),
    ]  # fmt: skip
    asked = np.nan if beta is None else beta
    return {"traces": pd.concat(found, ignore_index=True).assign(beta=asked)}


def law_of(step, error, floor, tail):
    """What fits the tail; NaN for a run that ends, or was switched, too early to tell."""
    names = ("powerlaw_slope", "powerlaw_r2", "exp_rate", "exp_r2", "law")
    try:
        fitted = fit_decay(step, error, floor, tail)
    except TooFewPointsError:
        return dict.fromkeys(names, np.nan) | {"law": "unknown"}
    return {name: getattr(fitted, name) for name in names}


@study.evaluate
def rates(descents, *, steps, symmetric_steps, floor, tail):
    """Laws of the tails, and where each run stood at T/4 and at the end."""
    rows = []
    for run, trace in descents["traces"].groupby(RUN, sort=False):
        known = trace["err2"].notna()
        error = trace["err2"].where(known, trace["residual"] ** 2).to_numpy()
        step, T = trace["step"].to_numpy(), trace["T"].iloc[0]
        switch = trace["switched_at"].iloc[0]
        after = step >= switch
        since = step[after] - max(switch, 0)
        law = law_of(since, error[after], floor, tail)
        rows.append(
            {
                **dict(zip(RUN, run, strict=True)),
                "k": trace["k"].iloc[0],
                **law,
                "final_err2": error[-1],
                "quarter_err2": error[step <= T // 4][-1],
                "common_err2": error[step <= min(steps, symmetric_steps)][-1],
                "step_of_switch": switch,
                "steps_to_arrive": steps_until(since, error[after], ARRIVED, law["exp_rate"]),
            }
        )
    return pd.DataFrame(rows)


def settings(rates):
    """The runs of each operator and condition number, with a label for them."""
    for (operator, kappa), runs in rates["rates"].groupby(["operator", "kappa"], sort=False):
        yield f"{operator}, kappa {kappa:g}", runs


def by_seed(runs, method, alpha, column, factor_rank="2r"):
    """One number per seed; NaN where the method was not run."""
    chosen = runs[(runs["method"] == method) & (runs["factor_rank"] == factor_rank)]
    chosen = chosen[chosen["alpha"] == alpha].set_index("seed")[column]
    return chosen.reindex(sorted(runs["seed"].unique()))


@study.claim(
    "Over-parameterised symmetric descent is sublinear, exactly parameterised it is exponential",
    source="abstract, Omega(1/T^2) against exp(-Omega(T)); in every seed the tail of k = 2r has a "
    "slope in -2.3 to -1.6 and R2 of the power law is larger; k = r is below 1e-20 at T/4",
    arm="2r",
    control="r",
)
def symmetric_is_sublinear(rates, *, arm, alpha):
    parts = []
    for name, runs in settings(rates):
        seen = partial(by_seed, runs, "symmetric", alpha)
        lead = seen("powerlaw_r2", arm) - seen("exp_r2", arm)
        exactly = seen("quarter_err2", "r")
        parts += [
            worst(seen("powerlaw_slope", arm), region=(-2.3, -1.6), label=f"{name}: slope"),
            worst(lead, region=(0, None), label=f"{name}: R2 of power law less exponential"),
            worst(exactly, region=(None, 1e-20), label=f"{name}: error of k = r at T/4"),
        ]
    return parts


@study.claim(
    "Over-parameterised asymmetric descent from an imbalanced start is linear",
    source="abstract, exp(-Omega(alpha^2 T)); k = 2r, alpha 0.5: log10 of the final squared error "
    "below -20, R2 of the exponential above 0.995",
    arm="asymmetric",
    control="balanced",
)
def asymmetric_is_linear(rates, *, arm, alpha):
    parts = []
    for name, runs in settings(rates):
        final = np.log10(by_seed(runs, arm, alpha, "final_err2"))
        fit = by_seed(runs, arm, alpha, "exp_r2")
        parts += [
            mean(final, region=(None, -20), label=f"{name}: log10 of the final error"),
            mean(fit, region=(0.995, None), label=f"{name}: R2 of the exponential"),
        ]
    return parts


@study.claim(
    "The exponent is proportional to alpha^2",
    source="abstract, exp(-Omega(alpha^2 T)); slope of log rate on log alpha in 1.6 to 2.3",
    arm="asymmetric",
    control="accelerated",
)
def rate_follows_alpha(rates, *, arm, alphas):
    parts = []
    for name, runs in settings(rates):
        each = [by_seed(runs, arm, alpha, "exp_rate") for alpha in alphas]
        table = np.stack(each, axis=1)
        parts.append(loglog_slope(alphas, table, region=(1.6, 2.3), label=f"{name}: slope"))
    return parts


@study.claim(
    "One modified step makes the rate independent of alpha",
    source="abstract; steps to 1e-16 after the switch, smallest over largest alpha, in 0.7 to 1.4, "
    "while plain descent needs more than 5 times as many",
    arm="accelerated",
    control="unscaled",
)
def one_step_forgets_alpha(rates, *, arm, alphas):
    parts = []
    for name, runs in settings(rates):
        for method, region in ((arm, (0.7, 1.4)), ("asymmetric", (5, None))):
            few, many = (
                by_seed(runs, method, alpha, "steps_to_arrive")
                for alpha in (max(alphas), min(alphas))
            )
            parts.append(ratio(many, few, region=region, label=f"{name}: steps of {method}"))
    return parts


@study.claim(
    "Asymmetric factors are faster even for a symmetric matrix",
    source="abstract; same M and T, k = 2r, alpha 0.5: squared error over that of X X^T below 1e-6",
    arm="asymmetric_for_symmetric",
    control="balanced",
)
def asymmetry_helps_symmetric(rates, *, arm, alpha):
    return [
        ratio(
            by_seed(runs, arm, alpha, "common_err2"),
            by_seed(runs, "symmetric", alpha, "common_err2"),
            region=(None, 1e-6),
            label=f"{name}: error over that of X X^T",
        )
        for name, runs in settings(rates)
    ]


def first_setting(frame):
    """The first operator and condition number: what the figures show."""
    chosen = frame.iloc[0][["operator", "kappa"]]
    return frame[(frame[["operator", "kappa"]] == chosen).all(axis=1) & (frame.get("step", 1) > 0)]


@study.figure(
    "Symmetric descent: 1/T^2 where k > r",
    caption="Squared error of each seed; the law is (k - r) / (4 eta^2 t^2) for k = 2r.",
)
def symmetric_curves(descents):
    runs = first_setting(descents["traces"])
    runs = runs[runs["method"] == "symmetric"]
    over = runs[runs["factor_rank"] == "2r"]
    law = over[over["seed"] == over["seed"].min()].assign(factor_rank="law for 2r")
    k, r, eta = law.iloc[0][["k", "r", "eta"]]
    law["err2"] = sensing_rates(k, r, eta, law["step"]).symmetric_err2
    shown = pd.concat([runs, law[law["step"] >= 10]])
    return charts.lines(
        shown, "step", "err2", "factor_rank", each="seed", log_x=True, log_y=True,
        y_title="squared error",
    )  # fmt: skip


@study.figure("Asymmetric descent: the start's scale sets the rate", caption="k = 2r, each seed.")
def asymmetric_curves(descents):
    runs = first_setting(descents["traces"])
    runs = runs[(runs["method"] == "asymmetric") & (runs["factor_rank"] == "2r")]
    runs = runs.assign(alpha=runs["alpha"].astype(str))
    return charts.lines(
        runs, "step", "err2", "alpha", each="seed", log_y=True, y_title="squared error"
    )


@study.figure("Rate against alpha", caption="k = 2r; plain descent has slope 2, accelerated 0.")
def rates_by_alpha(rates):
    runs = first_setting(rates["rates"])
    chosen = runs["method"].isin(["asymmetric", "accelerated"]) & (runs["factor_rank"] == "2r")
    return charts.band(
        runs[chosen & (runs["exp_rate"] > 0)], "alpha", "exp_rate", "method", log_x=True,
        log_y=True, y_title="rate per step",
    )  # fmt: skip


@study.figure("One modified step", caption="k = 2r, each seed; smallest and largest alpha.")
def accelerated_curves(descents, *, alphas):
    runs = first_setting(descents["traces"])
    runs = runs[runs["method"].isin(["asymmetric", "accelerated"]) & (runs["factor_rank"] == "2r")]
    runs = runs[runs["alpha"].isin([min(alphas), max(alphas)])]
    runs = runs.assign(method=runs["method"] + " " + runs["alpha"].astype(str))
    return charts.lines(
        runs, "step", "err2", "method", each="seed", log_y=True, y_title="squared error"
    )
