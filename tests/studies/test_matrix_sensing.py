"""Study 01: its steps as plain functions, one quick run, its claims and controls, bad input."""

import numpy as np
import pandas as pd
import pytest

from overparam.datasets import positive_semidefinite, read_sensing
from overparam.errors import ConfigError
from overparam.reporting.figures import draw_figures
from overparam.studies import load
from overparam.studies.optimization import matrix_sensing as module
from overparam.study import Tables

SEEDS = (3, 4)
POSED = {
    "kappa": 1.0, "size": 6, "rank": 1, "samples": 60, "identity_size": 5, "identity_rank": 2,
    "own_file": None, "noise": 0.0,
}  # fmt: skip
RUN = {
    "kappa": 1.0, "alpha": 0.5, "alphas": (0.5, 0.2), "imbalance": 1 / 3, "step_size": 0.1,
    "symmetric_steps": 160, "steps": 240, "accelerated_steps": 200, "tau": 0.1, "beta": None,
    "stop_below": 1e-14,
}  # fmt: skip
METHODS = {
    "symmetric", "asymmetric", "near_balanced", "balanced", "asymmetric_for_symmetric",
    "accelerated", "unscaled",
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return load("matrix-sensing").run(tmp_path_factory.mktemp("store"), profile="quick")


@pytest.fixture(scope="module")
def problems():
    return module.problems(operator="gaussian", seeds=SEEDS, **POSED)


@pytest.fixture(scope="module")
def traces(problems):
    return descended(problems, SEEDS)


def descended(problems, seeds, operator="gaussian", **overrides):
    options = {**RUN, **overrides}
    found = module.descents(problems, operator=operator, factor_rank="2r", seeds=seeds, **options)
    return found["traces"]


def ending(traces, method, alpha=0.5, seed=3):
    chosen = traces[(traces["method"] == method) & (traces["alpha"] == alpha)]
    return chosen[chosen["seed"] == seed].iloc[-1]


@pytest.mark.parametrize("operator", ["gaussian", "identity"])
def test_measurements_are_those_of_a_low_rank_matrix_of_each_kind(operator):
    problems = module.problems(operator=operator, seeds=SEEDS, **POSED)
    posed = read_sensing(problems, SEEDS, ("symmetric", "asymmetric"))
    n, r = (6, 1) if operator == "gaussian" else (5, 2)
    assert posed.truth.shape == (2, 2, n, n) and (problems["problems"]["r"] == r).all()
    assert (np.linalg.matrix_rank(posed.truth) == r).all()
    np.testing.assert_allclose(posed.op.forward(posed.truth), posed.y, rtol=1e-12, atol=1e-15)
    assert positive_semidefinite(posed.truth[0, 0])
    assert not positive_semidefinite(posed.truth[0, 1])
    assert ("sensing" in problems) == (operator == "gaussian")


def test_all_methods_run_side_by_side(traces):
    assert set(traces["method"]) == METHODS and set(traces["seed"]) == set(SEEDS)
    assert (traces["k"] == 2).all() and traces["err2"].notna().all()
    start = traces[traces["step"] == 0].set_index(["method", "alpha", "seed"])["sigma_min_F"]
    # All methods start from the same random directions.
    for method in METHODS - {"symmetric"}:
        assert start[method, 0.5, 3] == pytest.approx(start["symmetric", 0.5, 3], rel=1e-12)
    switched = traces[traces["method"] == "accelerated"]["switched_at"]
    assert (switched > 0).all()
    assert (traces[traces["method"] == "asymmetric"]["switched_at"] == -1).all()


def test_the_switch_without_rescaling_is_plain_descent_and_the_real_one_is_not(traces):
    plain = traces[(traces["method"] == "asymmetric") & (traces["step"] <= 40)]
    unscaled = traces[(traces["method"] == "unscaled") & (traces["step"] <= 40)]
    both = plain.merge(unscaled, on=["seed", "alpha", "step"], suffixes=("", "_u"))
    assert len(both) > 20
    np.testing.assert_allclose(both["err2"], both["err2_u"], rtol=1e-9)
    assert (
        ending(traces, "accelerated", 0.2)["err2"] < 1e-3 * ending(traces, "unscaled", 0.2)["err2"]
    )


def test_balanced_factors_stay_balanced_and_behave_like_the_symmetric_ones(traces):
    balanced = ending(traces, "balanced")
    assert balanced["imbalance_drift"] < 0.01
    symmetric = traces[(traces["method"] == "symmetric") & (traces["seed"] == 3)]
    near = symmetric["err2"].iloc[-1]
    assert 0.1 < balanced["err2"] / near < 10
    assert ending(traces, "asymmetric_for_symmetric")["err2"] < near / 10


def test_a_seed_does_not_depend_on_who_else_is_in_the_batch(problems, traces):
    alone = descended(problems, (4,))
    ours = traces[traces["seed"] == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, ours, rtol=1e-7, atol=1e-24)


def run_of(method, err2, step, T, switched_at=-1):
    labels = {"operator": "gaussian", "kappa": 1.0, "factor_rank": "2r", "method": method}
    labels |= {"alpha": 0.5, "seed": 0, "k": 4, "residual": 1.0, "T": T}
    return pd.DataFrame({"step": step, "err2": err2}).assign(switched_at=switched_at, **labels)


def test_rates_are_those_of_known_curves():
    t = np.unique(np.geomspace(1, 1000, 150).astype(int))
    late = np.unique(np.append(t, [100, 800]))
    table = pd.concat(
        [
            run_of("symmetric", 3.0 / t**2, t, 1000),
            run_of("asymmetric", np.exp(-0.02 * t), t, 1000),
            run_of("accelerated", np.exp(-0.05 * np.maximum(late - 100, 0)), late, 1000, 100),
            run_of("unscaled", np.exp(-0.05 * t), t, 1000, int(t[-2])),
        ],
        ignore_index=True,
    )
    options = {"steps": 1000, "symmetric_steps": 800, "floor": 1e-30, "tail": 0.25}
    rates = module.rates({"traces": table}, **options)["rates"].set_index("method")
    assert rates.loc["symmetric", "powerlaw_slope"] == pytest.approx(-2)
    assert rates["law"].to_dict() == {
        "symmetric": "power",
        "asymmetric": "exponential",
        "accelerated": "exponential",
        "unscaled": "unknown",
    }
    assert np.isnan(rates.loc["unscaled", "exp_rate"])
    assert rates.loc["accelerated", "exp_rate"] == pytest.approx(0.05)
    assert rates.loc["accelerated", "step_of_switch"] == 100
    # Steps since the switch; plain descent is continued beyond its last step.
    arrive = rates["steps_to_arrive"]
    assert arrive["accelerated"] == pytest.approx(-np.log(1e-16) / 0.05, rel=1e-3)
    assert arrive["asymmetric"] == pytest.approx(-np.log(1e-16) / 0.02)
    assert rates.loc["asymmetric", "final_err2"] == pytest.approx(np.exp(-20))
    assert rates.loc["accelerated", "common_err2"] == pytest.approx(np.exp(-35))
    assert rates.loc["symmetric", "quarter_err2"] == pytest.approx(3 / t[t <= 250][-1] ** 2)


@pytest.mark.parametrize(("n2", "known"), [(4, False), (6, True)])
def test_own_data_is_used(tmp_path, n2, known):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((90, 6, n2))
    x = rng.standard_normal((6, 1))
    x /= np.linalg.norm(x)
    M = x @ (x.T if known else rng.standard_normal((1, n2)))
    arrays = {"A": A, "y": np.einsum("mij,ij->m", A, M)}
    np.savez(tmp_path / "own.npz", **arrays, **({"M": M} if known else {}))
    path = {"own_file": tmp_path / "own.npz"}
    problems = module.problems(operator="own", seeds=SEEDS, **{**POSED, **path})
    found = descended(problems, SEEDS, "own")
    # A matrix that is not known to be X X^T is not given to methods that need one.
    some = {"asymmetric", "near_balanced", "accelerated", "unscaled"}
    assert set(found["method"]) == (METHODS if known else some)
    assert found["err2"].notna().all() == known
    labels = {"operator": "own", "kappa": 1.0, "factor_rank": "2r"}
    tables = {"traces": found.assign(**labels)}
    rates = module.rates(tables, steps=240, symmetric_steps=160, floor=1e-24, tail=0.25)
    arrived = rates["rates"].query("method == 'accelerated' and alpha == 0.5")
    assert (arrived["final_err2"] < 1e-6).all()
    for claim in module.study.claims:
        config = module.Config(alphas=RUN["alphas"])
        assert claim.evidence({"rates": rates}, config, of_control=False)


def test_every_claim_is_judged_and_every_control_fails(results):
    verdicts = {verdict.claim.name: verdict for verdict in results.verdicts}
    assert verdicts["symmetric_is_sublinear"].verdict == "reproduced"
    assert verdicts["asymmetry_helps_symmetric"].verdict == "reproduced"
    # With five seeds the slowest starts leave these three open; see the recorded full run.
    for name in ("asymmetric_is_linear", "rate_follows_alpha", "one_step_forgets_alpha"):
        assert verdicts.pop(name).verdict in ("reproduced", "inconclusive", "contradicted")
    assert len(verdicts) == 2
    for verdict in results.verdicts:
        assert verdict.judgement.control_verdict in ("contradicted", "inconclusive")


def test_the_modified_step_makes_the_start_forgotten(results):
    (verdict,) = (v for v in results.verdicts if v.claim.name == "one_step_forgets_alpha")
    steps, plain = verdict.judgement.arm
    assert steps.inside and steps.label.endswith("steps of accelerated")
    assert plain.effect > 2


def test_claims_about_what_was_not_run_decide_nothing(results, judged_without):
    found = judged_without(results, method=["near_balanced"])
    assert {judgement.verdict for judgement in found.values()} == {"void"}


def test_figures_are_drawn(results):
    figures = draw_figures(results.plan, results.store)
    assert figures["error"].tolist() == [""] * 4 and (figures["spec"] != "").all()


def test_an_evaluation_knob_retrains_nothing():
    def keys(plan, step):
        return [plan.key(cell) for cell in plan.cells_of(module.study.steps[step])]

    plain = module.study.plan()
    for knob in ({"floor": 1e-20}, {"tail": 0.5}):
        changed = module.study.plan(**knob)
        assert keys(changed, "descents") == keys(plain, "descents")
        assert keys(changed, "rates") != keys(plain, "rates")
    changed = module.study.plan(tau=0.2, seeds=6)
    assert keys(changed, "problems")[:5] == keys(plain, "problems")
    assert not set(keys(changed, "descents")) & set(keys(plain, "descents"))
    more = module.study.plan(seeds=6)
    assert set(keys(plain, "descents")) < set(keys(more, "descents"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"operators": ("fourier",)}, "operators.*fourier"),
        ({"operators": ("own",)}, "own needs own_file"),
        ({"own_file": "missing.npz"}, "no file 'missing.npz'"),
        ({"kappas": (0.5,)}, r"kappas.*0\.5"),
        ({"rank": 11}, "rank k = 22 exceed the size n = 20"),
        ({"factor_ranks": ("3r",)}, "factor_ranks.*3r"),
        ({"alphas": (0.5, 0.0)}, "alphas"),
        ({"imbalance": -1.0}, "imbalance"),
        ({"step_size": 2.0}, "step_size"),
        ({"tau": 1.0}, "tau"),
        ({"beta": 0.0}, "beta"),
        ({"tail": 1.0}, "tail"),
    ],
)
def test_bad_config_says_what_is_allowed(overrides, message):
    with pytest.raises(ConfigError, match=message):
        module.study.plan(**overrides)


def test_a_batch_of_tables_reads_like_one(problems):
    one = module.problems(operator="gaussian", seeds=(4,), **POSED)
    both = read_sensing(problems, SEEDS, ("asymmetric",))
    alone = read_sensing(Tables.concat([one]), (4,), ("asymmetric",))
    np.testing.assert_array_equal(alone.y[0], both.y[1])
