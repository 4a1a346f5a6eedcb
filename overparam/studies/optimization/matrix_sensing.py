"""Study 01: what does an over-estimated rank cost gradient descent on matrix sensing?"""

from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import PositiveFloat, model_validator

from overparam.datasets import drawn_sensing_tables, own_sensing_tables, problem_rank
from overparam.evidence import by_seed, loglog_slope, mean, per_group, ratio, where, worst
from overparam.measure import decay_table
from overparam.reporting import charts
from overparam.study import DataFile, Field, Paper, Study, StudyConfig
from overparam.theory import sensing_rates
from overparam.training import (
    FactorStart,
    SensingDescent,
    accelerated_factored_gd,
    descend_side_by_side,
    factored_gd,
)

# k, the rank of the factors, by what it is called.
FACTOR_RANKS = {
    "r": lambda r: r, "r+1": lambda r: r + 1, "2r": lambda r: 2 * r, "4r": lambda r: 4 * r,
}  # fmt: skip
# The columns that tell problems and runs apart.
PROBLEM = ["operator", "kappa"]
RUN = [*PROBLEM, "factor_rank", "method", "alpha", "seed"]
# The squared error to which steps are counted.
ARRIVED = 1e-16


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
    needs: ClassVar = {"own": ("own_file",)}

    @model_validator(mode="after")
    def _ranks_fit(self):
        sides = {"gaussian": (self.size, self.rank)}
        sides["identity"] = self.identity_size, self.identity_rank
        for operator in set(self.operators) & set(sides):
            n, r = sides[operator]
            k = max((FACTOR_RANKS[word](r) for word in self.factor_ranks), default=0)
            if k > n:
                raise ValueError(f"{operator}: factors of rank k = {k} exceed the size n = {n}")
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


@study.generate(each={"operator": "operators", "kappa": "kappas", "seed": "seeds"}, batch=16)
def problems(
    *, operator, kappa, seeds, size, rank, samples, identity_size, identity_rank, own_file, noise
):
    """For each seed the sensing matrices, a symmetric and an asymmetric M, and y = A(M)."""
    if operator == "own":
        return own_sensing_tables(own_file, rank, seeds)
    identity = operator == "identity"
    n, r, m = (identity_size, identity_rank, None) if identity else (size, rank, samples)
    return drawn_sensing_tables(n, r, m, operator, seeds, kappa=kappa, noise=noise)


@study.train(
    each={
        "operator": "operators", "kappa": "kappas", "factor_rank": "factor_ranks", "seed": "seeds",
    },
    batch=16,
)  # fmt: skip
def descents(
    problems, *, operator, kappa, factor_rank, seeds, alpha, alphas, imbalance, step_size,
    symmetric_steps, steps, accelerated_steps, tau, beta, stop_below,
):  # fmt: skip
    """All algorithms side by side, on the same problems and from the same random directions."""
    switched = partial(accelerated_factored_gd, tau=tau, beta=beta)
    unscaled = partial(switched, modified_step=lambda F, G, beta: (F, G))

    def at_each_alpha(method):
        return [FactorStart(method, "asymmetric", a, imbalance) for a in alphas]

    plain = [
        *at_each_alpha("asymmetric"),
        FactorStart("near_balanced", "asymmetric", alpha),
        FactorStart("balanced", "symmetric", alpha, tied=True),
        FactorStart("asymmetric_for_symmetric", "symmetric", alpha, imbalance),
    ]
    symmetric = [FactorStart("symmetric", "symmetric", alpha)]
    algorithms = [
        SensingDescent(factored_gd, symmetric, symmetric_steps, "symmetric"),
        SensingDescent(factored_gd, plain, steps),
        SensingDescent(switched, at_each_alpha("accelerated"), accelerated_steps),
        SensingDescent(unscaled, at_each_alpha("unscaled"), accelerated_steps),
    ]
    k = FACTOR_RANKS[factor_rank](problem_rank(problems))
    traces = descend_side_by_side(algorithms, problems, seeds, k, step_size, stop_below)
    return {"traces": traces.assign(beta=np.nan if beta is None else beta)}


@study.evaluate
def rates(descents, *, steps, symmetric_steps, floor, tail):
    """Laws of the tails, and where each run stood at T/4 and at the end."""
    traces = descents["traces"]
    err2 = traces["err2"].where(traces["err2"].notna(), traces["residual"] ** 2)
    traces = traces.assign(err2=err2)
    runs = traces.groupby(RUN, sort=False)
    quarter = traces[traces["step"] <= traces["T"] // 4]
    common = traces[traces["step"] <= min(steps, symmetric_steps)]
    laws = decay_table(traces, RUN, "err2", level=ARRIVED, floor=floor, tail=tail)
    return laws.assign(
        k=runs["k"].first(),
        step_of_switch=runs["switched_at"].first(),
        final_err2=runs["err2"].last(),
        quarter_err2=quarter.groupby(RUN)["err2"].last(),
        common_err2=common.groupby(RUN)["err2"].last(),
    ).reset_index()


@study.claim(
    "Over-parameterised symmetric descent is sublinear, exactly parameterised it is exponential",
    source="abstract, Omega(1/T^2) against exp(-Omega(T)); in every seed the tail of k = 2r has a "
    "slope in -2.3 to -1.6 and R2 of the power law is larger; k = r is below 1e-20 at T/4",
    arm="2r",
    control="r",
)
def symmetric_is_sublinear(rates, *, arm, alpha):
    def evidence(runs):
        exactly = partial(by_seed, runs, method="symmetric", alpha=alpha, factor_rank="r")
        over = partial(exactly, factor_rank=arm)
        lead = over("powerlaw_r2") - over("exp_r2")
        return [
            worst(over("powerlaw_slope"), region=(-2.3, -1.6), label="slope"),
            worst(lead, region=(0, None), label="R2 of power law less exponential"),
            worst(exactly("quarter_err2"), region=(None, 1e-20), label="error of k = r at T/4"),
        ]

    return per_group(rates["rates"], PROBLEM, evidence)


@study.claim(
    "Over-parameterised asymmetric descent from an imbalanced start is linear",
    source="abstract, exp(-Omega(alpha^2 T)); k = 2r, alpha 0.5: log10 of the final squared error "
    "below -20, R2 of the exponential above 0.995",
    arm="asymmetric",
    control="balanced",
)
def asymmetric_is_linear(rates, *, arm, alpha):
    def evidence(runs):
        seen = partial(by_seed, runs, method=arm, alpha=alpha, factor_rank="2r")
        final = np.log10(seen("final_err2"))
        return [
            mean(final, region=(None, -20), label="log10 of the final error"),
            mean(seen("exp_r2"), region=(0.995, None), label="R2 of the exponential"),
        ]

    return per_group(rates["rates"], PROBLEM, evidence)


@study.claim(
    "The exponent is proportional to alpha^2",
    source="abstract, exp(-Omega(alpha^2 T)); slope of log rate on log alpha in 1.6 to 2.3",
    arm="asymmetric",
    control="accelerated",
)
def rate_follows_alpha(rates, *, arm, alphas):
    def evidence(runs):
        seen = partial(by_seed, runs, "exp_rate", method=arm, factor_rank="2r")
        table = np.stack([seen(alpha=alpha) for alpha in alphas], axis=1)
        return loglog_slope(alphas, table, region=(1.6, 2.3), label="slope")

    return per_group(rates["rates"], PROBLEM, evidence)


@study.claim(
    "One modified step makes the rate independent of alpha",
    source="abstract; steps to 1e-16 after the switch, smallest over largest alpha, in 0.7 to 1.4, "
    "while plain descent needs more than 5 times as many",
    arm="accelerated",
    control="unscaled",
)
def one_step_forgets_alpha(rates, *, arm, alphas):
    def evidence(runs):
        seen = partial(by_seed, runs, "steps_to_arrive", factor_rank="2r")
        parts = []
        for method, region in ((arm, (0.7, 1.4)), ("asymmetric", (5, None))):
            few, many = (seen(method=method, alpha=a) for a in (max(alphas), min(alphas)))
            parts.append(ratio(many, few, region=region, label=f"steps of {method}"))
        return parts

    return per_group(rates["rates"], PROBLEM, evidence)


@study.claim(
    "Asymmetric factors are faster even for a symmetric matrix",
    source="abstract; same M and T, k = 2r, alpha 0.5: squared error over that of X X^T below 1e-6",
    arm="asymmetric_for_symmetric",
    control="balanced",
)
def asymmetry_helps_symmetric(rates, *, arm, alpha):
    def evidence(runs):
        seen = partial(by_seed, runs, "common_err2", alpha=alpha, factor_rank="2r")
        ours, theirs = seen(method=arm), seen(method="symmetric")
        return ratio(ours, theirs, region=(None, 1e-6), label="error over that of X X^T")

    return per_group(rates["rates"], PROBLEM, evidence)


def first_problem(frame, **values):
    """The rows with these values of the first problem: what the figures show."""
    return where(frame, **frame.iloc[0][PROBLEM], **values)


@study.figure(
    "Symmetric descent: 1/T^2 where k > r",
    caption="Squared error of each seed, first operator and kappa; the law is "
    "(k - r) / (4 eta^2 t^2) for k = 2r.",
)
def symmetric_curves(descents):
    runs = first_problem(descents["traces"], method="symmetric")
    runs = runs[runs["step"] > 0]
    over = where(runs, factor_rank="2r")
    law = where(over, seed=over["seed"].min()).assign(factor_rank="law for 2r")
    k, r, eta = law.iloc[0][["k", "r", "eta"]]
    law["err2"] = sensing_rates(k, r, eta, law["step"]).symmetric_err2
    shown = pd.concat([runs, law[law["step"] >= 10]])
    return charts.lines(
        shown, "step", "err2", "factor_rank", each="seed", log_x=True, log_y=True,
        y_title="squared error",
    )  # fmt: skip


def curves(descents, methods, alphas):
    """Squared error of each seed with k = 2r, a panel for each method."""
    runs = first_problem(descents["traces"], method=methods, alpha=alphas, factor_rank="2r")
    runs = runs.assign(alpha=runs["alpha"].astype(str))
    return charts.lines(
        runs, "step", "err2", "alpha", each="seed", log_y=True, y_title="squared error",
        panel="method" if len(methods) > 1 else None,
    )  # fmt: skip


@study.figure("Asymmetric descent: the start's scale sets the rate", caption="k = 2r, each seed.")
def asymmetric_curves(descents, *, alphas):
    return curves(descents, ["asymmetric"], alphas)


@study.figure("Rate against alpha", caption="k = 2r; plain descent has slope 2, accelerated 0.")
def rates_by_alpha(rates):
    methods = ["asymmetric", "accelerated"]
    runs = first_problem(rates["rates"], method=methods, factor_rank="2r")
    return charts.band(
        runs[runs["exp_rate"] > 0], "alpha", "exp_rate", "method", log_x=True, log_y=True,
        y_title="rate per step",
    )  # fmt: skip


@study.figure("One modified step", caption="k = 2r, each seed; smallest and largest alpha.")
def accelerated_curves(descents, *, alphas):
    return curves(descents, ["asymmetric", "accelerated"], (min(alphas), max(alphas)))
