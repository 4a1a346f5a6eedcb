"""Intervals against scipy and exact coverage, degenerate data, and every rule of the verdicts."""

import json
import math
import warnings
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from overparam.evidence import (
    Evidence,
    confidence_level,
    current_level,
    difference,
    discordant,
    exact,
    judge,
    loglog_slope,
    loglog_slopes,
    mean,
    paired_difference,
    proportion,
    rank_correlation,
    rank_correlations,
    ratio,
    worst,
)

ANY = (-1e300, None)
UP = (0.0, None)


def generator(key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


def ends(evidence: Evidence) -> tuple[float, float]:
    return evidence.low, evidence.high


@pytest.fixture(autouse=True)
def no_warning_leaks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- intervals against an independent library ---------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 7, 29])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_t_intervals_equal_scipy(n, level):
    a, b = generator(n).normal(3.0, 2.0, (2, n))
    longer = generator(n + 100).exponential(size=n + 4)
    paired = stats.ttest_rel(a, b).confidence_interval(level)
    assert ends(paired_difference(a, b, region=UP, level=level)) == pytest.approx(paired)
    welch = stats.ttest_ind(a, longer, equal_var=False).confidence_interval(level)
    assert ends(difference(a, longer, region=UP, level=level)) == pytest.approx(welch)
    single = stats.ttest_1samp(a, 0.0).confidence_interval(level)
    assert ends(mean(a, region=UP, level=level)) == pytest.approx(single)
    assert mean(a, region=UP).effect == pytest.approx(a.mean())
    logs = stats.ttest_rel(np.log(longer[:n]), np.log(np.exp(a))).confidence_interval(level)
    of_ratio = ratio(longer[:n], np.exp(a), region=(1, None), level=level)
    assert ends(of_ratio) == pytest.approx(np.exp(logs))
    logs = stats.ttest_ind(np.log(longer), a, equal_var=False).confidence_interval(level)
    of_ratio = ratio(longer, np.exp(a), region=(1, None), level=level, paired=False)
    assert ends(of_ratio) == pytest.approx(np.exp(logs))
    assert of_ratio.effect == pytest.approx(np.exp(np.log(longer).mean() - a.mean()))


def test_clopper_pearson_equals_scipy():
    for trials in (1, 2, 5, 40, 1000):
        for successes in {0, 1, trials // 3, trials - 1, trials}:
            found = proportion(successes, trials, region=(0.5, None), level=0.9)
            expected = stats.binomtest(successes, trials).proportion_ci(0.9, "exact")
            assert ends(found) == pytest.approx((expected.low, expected.high), abs=1e-12)
            assert found.effect == successes / trials
            assert found.n == trials


def test_discordant_is_the_exact_mcnemar_test():
    for differing in range(3, 26):
        for only_b in range(differing + 1):
            a = np.array([True] * (differing - only_b) + [False] * only_b + [True, False])
            b = np.array([False] * (differing - only_b) + [True] * only_b + [True, False])
            significant = stats.binomtest(only_b, differing).pvalue < 0.05
            found = discordant(a, b, region=(None, 0.5))
            assert found.effect == only_b / differing
            assert found.n == differing + 2
            assert found.inside == (significant and only_b < differing / 2)
            assert found.outside == (significant and only_b > differing / 2)


def test_bca_from_thirty_values_on_equals_scipy():
    x = generator(1).lognormal(size=30)
    ours = mean(x, region=UP)
    theirs = stats.bootstrap(
        (x,),
        np.mean,
        n_resamples=9_999,
        method="BCa",
        rng=np.random.Generator(np.random.Philox(key=0)),
    ).confidence_interval
    assert ours.method == "BCa"
    assert ends(ours) == pytest.approx((theirs.low, theirs.high))
    assert ends(mean(x, region=UP)) == ends(ours), "the same data give the same interval"
    assert mean(x[:29], region=UP).method == "t"
    assert difference(x, x + 1, region=UP).method == "BCa"
    assert difference(x, x[:29], region=UP).method == "Welch t"
    assert mean(np.tile(x, 200), region=UP).method == "t"


def test_slopes_of_power_laws_and_their_interval():
    x = np.array([1.0, 2.0, 5.0, 11.0])
    exponents = np.array([-1.5, -1.25, -1.0])
    y = 3.0 * x ** exponents[:, None]
    assert loglog_slopes(x, y) == pytest.approx(exponents)
    noisy = y * generator(2).lognormal(sigma=0.3, size=y.shape)
    expected = [stats.linregress(np.log(x), np.log(row)).slope for row in noisy]
    assert loglog_slopes(np.tile(x, (3, 1)), noisy) == pytest.approx(expected)
    found = loglog_slope(x, noisy, region=(None, 0))
    assert ends(found) == pytest.approx(stats.ttest_1samp(expected, 0).confidence_interval())
    assert exact(loglog_slopes(x, y[0])[0], region=(-1.6, -1.4)).inside


def test_rank_correlations_equal_spearman_with_ties():
    x = generator(3).integers(0, 5, (6, 12)).astype(float)
    y = x + generator(4).integers(0, 6, (6, 12))
    expected = [stats.spearmanr(*rows).statistic for rows in zip(x, y, strict=True)]
    assert rank_correlations(x, y) == pytest.approx(expected)
    found = rank_correlation(x, y, region=UP)
    z = stats.ttest_1samp(np.arctanh(expected), 0).confidence_interval()
    assert ends(found) == pytest.approx(np.tanh(z))
    assert found.effect == pytest.approx(np.tanh(np.arctanh(expected).mean()))


def test_perfect_rank_correlation_has_a_defined_answer():
    x = np.arange(5.0)
    perfect = rank_correlation(x, np.tile(x**3, (4, 1)), region=(0.9, None))
    assert (perfect.effect, *ends(perfect)) == (1.0, 1.0, 1.0)
    swapped = np.array([0.0, 1.0, 2.0, 4.0, 3.0])
    mixed = rank_correlation(x, np.array([x, x, swapped]), region=(0.5, None))
    values = np.arctanh([1 - 6 / 120, 1 - 6 / 120, 0.9])
    assert mixed.effect == pytest.approx(np.tanh(values.mean()))
    assert 0.5 < mixed.low < mixed.effect < mixed.high < 1.0
    constant = rank_correlation(x, np.array([x, x, np.ones(5)]), region=(0.5, None))
    assert math.isnan(constant.effect)


# --- coverage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5, 10])
def test_t_interval_covers_a_normal_mean_as_often_as_it_says(n):
    draws = generator(n).normal(1.0, 3.0, (2_000, n))
    found = [mean(row, region=UP) for row in draws]
    assert np.mean([e.low <= 1.0 <= e.high for e in found]) == pytest.approx(0.95, abs=0.02)


def test_welch_interval_covers_under_unequal_variances():
    rng = generator(11)
    a, b = rng.normal(0, 1, (2_000, 6)), rng.normal(2, 3, (2_000, 9))
    found = [difference(*rows, region=UP) for rows in zip(a, b, strict=True)]
    assert np.mean([e.low <= -2.0 <= e.high for e in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("level", [0.9, 0.95, 1 - 0.05 / 8])
def test_exact_interval_covers_at_least_nominally_for_every_probability(level):
    chances = np.concatenate([np.geomspace(1e-4, 0.5, 60), 1 - np.geomspace(1e-4, 0.5, 60)])
    for trials in (1, 2, 5, 10, 30, 64):
        found = [proportion(k, trials, region=UP, level=level) for k in range(trials + 1)]
        low, high = np.array([ends(e) for e in found]).T
        held = (low <= chances[:, None]) & (chances[:, None] <= high)
        weights = stats.binom.pmf(np.arange(trials + 1), trials, chances[:, None])
        assert ((held * weights).sum(axis=1) >= level - 1e-12).all()


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_null_effect_is_reproduced_no_more_often_than_the_level_says(level):
    rng = generator(7)
    arm, base = rng.normal(size=(2, 4_000, 6))
    region = (0.0, None)
    with confidence_level(level):
        found = [paired_difference(*rows, region=region) for rows in zip(arm, base, strict=True)]
    failing = exact(-9.0, region=region)
    verdicts = [judge(e, failing).verdict for e in found]
    tail = (1 - level) / 2
    error = 3 * math.sqrt(tail * (1 - tail) / len(verdicts))
    assert verdicts.count("reproduced") / len(verdicts) <= tail + error
    assert verdicts.count("contradicted") / len(verdicts) <= tail + error
    assert verdicts.count("reproduced") > 0


def test_control_as_good_as_its_arm_is_void():
    rng = generator(8)
    for effect in (0.0, 1.0, 4.0):
        arm, control = rng.normal(effect, 1.0, (2, 1_000, 5))
        verdicts = [
            judge(mean(a, region=(0.5, None)), mean(c, region=(0.5, None))).verdict
            for a, c in zip(arm, control, strict=True)
        ]
        assert verdicts.count("void") >= 0.95 * len(verdicts)


# --- the level ----------------------------------------------------------------------------------


def test_confidence_level_nests_and_stays_in_its_thread():
    seen = []
    x = [1.0, 2.0, 4.0]
    with confidence_level(0.99):
        wide = mean(x, region=UP)
        with confidence_level(0.5):
            assert current_level() == 0.5
        assert current_level() == 0.99
        thread = Thread(target=lambda: seen.append(current_level()))
        thread.start()
        thread.join()
    assert current_level() == 0.95
    assert seen == [0.95]
    assert wide == mean(x, region=UP, level=0.99)
    assert wide.low < mean(x, region=UP).low
    with pytest.raises(RuntimeError), confidence_level(0.9):
        raise RuntimeError
    assert current_level() == 0.95


@pytest.mark.parametrize("level", [0.0, 1.0, 95, math.nan])
def test_impossible_levels_are_refused(level):
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1"):
        mean([1, 2, 3], region=UP, level=level)
    with pytest.raises(ValueError, match="level"), confidence_level(level):
        pass


# --- degenerate data ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 29, 30, 64])
def test_zero_variance_gives_the_value_itself(n):
    value = 0.1
    for found in (
        mean([value] * n, region=(value, value)),
        paired_difference([0.3] * n, [0.2] * n, region=(0.3 - 0.2, 0.3 - 0.2)),
        difference([0.3] * n, [0.2] * (n + 1), region=(0.3 - 0.2, 0.3 - 0.2)),
    ):
        assert found.low == found.effect == found.high
        assert (found.n, found.inside, found.note) == (n, True, "zero variance")
    same = ratio([3.0] * n, [3.0] * n, region=(1.0, 1.0))
    assert same.inside
    assert difference([0.3] * n, [0.3] * n, region=(0, 0)).inside


@pytest.mark.parametrize("x", [[2.0], [2.0, 3.0], [2.0, 2.0]])
def test_one_or_two_seeds_have_an_interval_but_no_verdict(x):
    found = mean(x, region=UP)
    if len(x) == 1:
        assert ends(found) == (-math.inf, math.inf)
        assert ends(difference(x, [1.0, 2.0, 3.0], region=UP)) == (-math.inf, math.inf)
        assert ends(difference(x, x, region=UP)) == (-math.inf, math.inf)
        assert ends(ratio(x, [1.0], region=(1, None))) == (0.0, math.inf)
    else:
        half = stats.t.ppf(0.975, 1) * np.std(x, ddof=1) / math.sqrt(2)
        assert found.high - found.effect == pytest.approx(half)
    assert judge(found, exact(-1.0, region=UP)).verdict == "undecided"
    assert judge(mean([1, 2, 3], region=UP), mean(x, region=UP)).verdict == "undecided"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("n", [4, 40])
def test_values_that_are_not_finite_support_and_contradict_nothing(bad, n):
    good = list(np.linspace(1, 2, n))
    spoilt = [*good[:-1], bad]
    curve = np.linspace(1, 2, 5) + np.zeros((n, 1))
    broken = curve.copy()
    broken[0, 2] = math.nan
    found = [
        mean(spoilt, region=UP),
        paired_difference(spoilt, good, region=UP),
        paired_difference(spoilt, spoilt, region=UP),
        difference(good, spoilt, region=UP),
        loglog_slope(range(1, 6), broken, region=UP),
        rank_correlation(range(5), broken, region=UP),
        worst(spoilt, region=UP),
        exact(math.nan if bad is None else bad, region=UP),
    ]
    if bad != -math.inf:
        found.append(ratio(spoilt, good, region=(1, None)))
    for evidence in found:
        assert math.isnan(evidence.effect)
        assert not evidence.inside
        assert not evidence.outside
        assert evidence.note.startswith("1 of ")
        assert (
            judge(
                evidence,
                exact(-1.0, region=UP)
                if evidence.scale == "linear"
                else ratio([1, 1, 1], [2, 2, 2], region=(1, None)),
            ).verdict
            == "inconclusive"
        )


def test_numbers_at_the_edge_of_floats():
    assert mean([1e308, 1.1e308, 1.2e308], region=UP).effect == pytest.approx(1.1e308)
    assert mean([1e-300, 2e-300, 3e-300], region=UP).low < 1e-300
    assert mean([1e308, -1e308, 0], region=UP).note == "values span more than a float can hold"
    vast = ratio([1e308] * 3, [1e-308] * 3, region=(1, None))
    assert math.isnan(vast.effect)
    assert vast.note
    # Exact numbers far from 0, and a level so high that rounding of the ends does not show.
    steps, level = np.array([0.0, 1.0, 3.0]), 1 - 1e-7
    near, far = (mean(x, region=UP, level=level) for x in (steps, 2.0**40 + 2.0**-11 * steps))
    assert far.high - far.low == pytest.approx(2.0**-11 * (near.high - near.low), rel=1e-3)
    other = steps[:2]
    near = difference(steps, other, region=UP, level=level)
    far = difference(2.0**40 + 2.0**-11 * steps, 2.0**40 + 2.0**-11 * other, region=UP, level=level)
    assert ends(far) == pytest.approx(tuple(2.0**-11 * end for end in ends(near)), rel=1e-9)


def test_bootstrap_interval_is_widened_to_its_estimate():
    """BCa moves both ends towards the long tail; at a low level they pass the estimate."""
    x = generator(5).lognormal(sigma=1.5, size=40)
    found = mean(x, region=UP, level=0.02)
    assert found.method == "BCa"
    assert found.low == found.effect < found.high
    mirrored = mean(-x, region=UP, level=0.02)
    assert mirrored.low < mirrored.effect == mirrored.high


@settings(max_examples=25, deadline=None)
@given(
    outliers=st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=3),
    base=st.sampled_from([0.0, 1.0, -1e9]),
)
def test_bca_of_nearly_equal_values_is_defined(outliers, base):
    x = np.array([base] * 30 + outliers)
    found = mean(x, region=UP)
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)
    two = difference(x, [base] * 30, region=UP)
    assert math.isfinite(two.low)
    assert math.isfinite(two.high)


def test_discordant_without_discordant_pairs_is_undefined():
    found = discordant([1, 0, 1, 1], [1, 0, 1, 1], region=(None, 0.5))
    assert (math.isnan(found.effect), ends(found), found.n) == (True, (0.0, 1.0), 4)
    assert found.note == "0 of 4 pairs discordant"
    assert not discordant([1, 1], [1, 1], region=(0, 1)).inside
    assert not discordant([1, 1], [1, 1], region=(2, None)).outside


# --- pairing and bad input ----------------------------------------------------------------------


def test_series_are_paired_by_their_index():
    a = pd.Series([1.0, 2.0, 4.0], index=[0, 1, 2])
    b = pd.Series([4.0, 1.0, 2.0], index=[2, 0, 1])
    assert ends(paired_difference(a, b, region=UP)) == (0.0, 0.0)
    assert paired_difference(a, b.to_numpy(), region=UP).high > 0.0, "arrays pair by position"
    nullable = pd.Series([1, 2, None], dtype="Int64")
    assert paired_difference(a, nullable, region=UP).note == "1 of 3 values not finite"
    with pytest.raises(ValueError, match="same index to be paired, got 2 in only one"):
        paired_difference(a, b.rename({2: 3}), region=UP)
    with pytest.raises(ValueError, match="b has more than one value for index 1"):
        ratio(a, b.rename({2: 1}), region=(1, None))


@pytest.mark.parametrize(
    "found",
    [
        mean([], region=UP),
        worst([], region=UP),
        proportion(0, 0, region=UP),
        difference([1, 2], [], region=UP),
        difference([], [1, 2], region=UP),
        paired_difference([1.0, 2.0], [], region=UP),
        paired_difference(pd.Series([], dtype=float), pd.Series([1.0], [7]), region=UP),
        ratio([], [1.0, 2.0], region=(1, None)),
        discordant([], [], region=UP),
        discordant(pd.Series([], dtype=bool), pd.Series([True]), region=UP),
    ],
    ids=lambda found: found.method,
)
def test_what_was_not_measured_at_all_is_undefined_and_missing(found):
    assert found.missing and not found.defined and found.n is None
    assert not found.inside and not found.outside
    assert found.note in ("nothing was measured", "0 of 0 pairs discordant")
    other = ratio([1.0, 1.1, 1.2], [1, 1, 1], region=(0.5, None))
    good = other if found.scale == "log" else mean([1.0, 1.1, 1.2], region=UP)
    assert judge(found, good).verdict == "void"  # the control is as good as it gets
    assert judge(good, found).verdict == "void" and judge(found, found).verdict == "void"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean([[1.0]], region=UP), "x must hold one value per seed"),
        (lambda: mean(3.0, region=UP), "x must hold one value per seed"),
        (lambda: mean(["a"], region=UP), "x must hold numbers, got list"),
        (
            lambda: paired_difference([1, 2], [1], region=UP),
            "paired by seed, got 2 and 1 values",
        ),
        (lambda: ratio([1, 2], [1, 0], region=UP), "b must be positive .* got 0.0"),
        (lambda: ratio([1, 2], [1, 1], region=(0, 1)), "must have positive ends"),
        (lambda: proportion(3, 2, region=UP), r"successes must lie in 0\.\.2, got 3"),
        (lambda: proportion(0, -1, region=UP), "trials must be at least 0"),
        (lambda: proportion(1, 0, region=UP), r"successes must lie in 0\.\.0, got 1"),
        (lambda: proportion(0.5, 2, region=UP), "successes must be a whole number"),
        (lambda: proportion(1, math.nan, region=UP), "trials must be a whole number"),
        (
            lambda: discordant([0, 2], [0, 1], region=UP),
            "a must hold only 0 and 1, got 2.0",
        ),
        (lambda: loglog_slope([1, -2], [[1, 2]], region=UP), "x must be positive"),
        (lambda: loglog_slope([1, 2], [[1, 0]], region=UP), "y must be positive"),
        (lambda: loglog_slope([1, 2, 3], [[1, 2]], region=UP), "does not match"),
        (lambda: loglog_slope([2, 2], [[1, 2]], region=UP), "two distinct values"),
        (lambda: loglog_slope([1, math.inf], [[1, 2]], region=UP), "x must be finite"),
        (
            lambda: rank_correlation([1, 2], [[1, 2]], region=UP),
            "at least 3 points, got 2",
        ),
        (lambda: exact(1, region=(None, None)), "open on both sides"),
        (lambda: exact(1, region=(2, 1)), "lo <= hi"),
        (lambda: exact(1, region=(0, math.inf)), "finite ends"),
        (lambda: exact(1, region=(0,)), "pair"),
        (lambda: exact(1, region=3), "pair"),
        (lambda: Evidence(1, 2, 3, 3, UP), "effect must lie in its interval"),
        (lambda: Evidence(2, 3, 1, 3, UP), "low must be at most high"),
        (lambda: Evidence(2, 1, math.nan, 3, UP), "low must be at most high"),
        (lambda: Evidence(math.inf, 1, math.inf, 3, UP), "finite or NaN"),
        (lambda: Evidence(2, 1, 3, 0, UP), "n must be at least 1"),
        (lambda: Evidence(2, 1, 3, 3, UP, scale="log10"), "'linear' or 'log'"),
        (lambda: Evidence(2, -1, 3, 3, (1, 2), scale="log"), "must be positive"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- evidence -----------------------------------------------------------------------------------


@given(
    st.floats(-3, 3),
    st.floats(0, 2),
    st.one_of(st.none(), st.floats(-3, 3)),
    st.one_of(st.none(), st.floats(-3, 3)),
)
def test_inside_and_outside_are_set_relations(low, width, lo, hi):
    if (lo is None and hi is None) or (lo is not None and hi is not None and lo > hi):
        return
    evidence = Evidence(low, low, low + width, 5, (lo, hi))
    left, right = (-math.inf if lo is None else lo), (math.inf if hi is None else hi)
    assert evidence.inside == (left <= low and low + width <= right)
    assert evidence.outside == (max(left, low) > min(right, low + width))
    assert not (evidence.inside and evidence.outside)


def test_worst_looks_at_the_side_that_the_region_bounds():
    x = [0.2, -3.0, 1.5]
    assert worst(x, region=(None, 1)).effect == 1.5
    assert worst(x, region=(-5, None)).effect == -3.0
    assert worst(x, region=(-5, 1)).effect == 1.5
    assert worst(x, region=(-2, 2)).effect == -3.0
    assert worst(x, region=(-4, 4)).n is None


def test_to_dict_is_json():
    found = mean([1.0], region=UP, label="gain")
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == {
        "effect": 1.0,
        "low": None,
        "high": None,
        "n": 1,
        "region": [0.0, None],
        "label": "gain",
        "scale": "linear",
        "method": "t",
        "note": "",
    }
    judgement = judge(exact(math.nan, region=UP), exact(np.float32(-1), region=UP))
    data = json.loads(json.dumps(judgement.to_dict(), allow_nan=False))
    assert data["arm"][0]["effect"] is None
    assert (data["verdict"], data["control_verdict"]) == (
        "inconclusive",
        "contradicted",
    )


# --- verdicts -----------------------------------------------------------------------------------


def interval(effect, half, n=5, region=UP, scale="linear"):
    low, high = effect - half, effect + half
    if scale == "log":
        low, high = effect / math.exp(half), effect * math.exp(half)
    return Evidence(effect, low, high, n, region, scale=scale)


IN, ACROSS, OUT = interval(3, 1), interval(0.5, 1), interval(-3, 1)
POINT_IN, POINT_OUT = exact(1.0, region=UP), exact(-1.0, region=UP)
UNKNOWN = mean([1, 2, math.nan], region=UP)


@pytest.mark.parametrize(
    ("arm", "control", "verdict", "control_verdict"),
    [
        (IN, OUT, "reproduced", "contradicted"),
        (IN, ACROSS, "reproduced", "inconclusive"),
        (OUT, interval(-6, 1), "contradicted", "contradicted"),
        (ACROSS, OUT, "inconclusive", "contradicted"),
        # a control with the property
        (IN, IN, "void", "reproduced"),
        (OUT, IN, "void", "reproduced"),
        (ACROSS, POINT_IN, "void", "reproduced"),
        # a control that fails, but may be as good as the arm
        (IN, interval(1.7, 2), "void", "inconclusive"),
        (OUT, OUT, "void", "contradicted"),
        (ACROSS, ACROSS, "void", "inconclusive"),
        # exact findings
        (POINT_IN, POINT_OUT, "reproduced", "contradicted"),
        (POINT_OUT, POINT_OUT, "void", "contradicted"),
        (POINT_OUT, exact(-2.0, region=UP), "contradicted", "contradicted"),
        (IN, exact(-0.1, region=UP), "reproduced", "contradicted"),
        (ACROSS, exact(-0.4, region=UP), "void", "contradicted"),
        (exact(0.0, region=UP), POINT_OUT, "reproduced", "contradicted"),
        # undefined effects
        (IN, UNKNOWN, "reproduced", "inconclusive"),
        (UNKNOWN, OUT, "inconclusive", "contradicted"),
        (UNKNOWN, UNKNOWN, "void", "inconclusive"),
        (UNKNOWN, IN, "void", "reproduced"),
        # several parts
        ([IN, POINT_IN], [OUT, POINT_IN], "reproduced", "contradicted"),
        ([IN, POINT_OUT], [OUT, POINT_IN], "contradicted", "contradicted"),
        ([IN, ACROSS], [OUT, ACROSS], "inconclusive", "contradicted"),
        ([ACROSS, OUT], [IN, POINT_OUT], "contradicted", "contradicted"),
        ([IN, UNKNOWN], [OUT, OUT], "inconclusive", "contradicted"),
        # the part that failed does not differ, the one that differs did not fail
        ([IN, ACROSS], [interval(30, 1), ACROSS], "void", "inconclusive"),
        # too few
        (interval(3, 1, n=2), OUT, "undecided", "contradicted"),
        (interval(3, 1, n=2), interval(3, 1), "undecided", "reproduced"),
        (IN, interval(-3, 1, n=1), "undecided", "undecided"),
        ([IN, interval(3, 1, n=2)], [OUT, OUT], "undecided", "contradicted"),
        (mean([math.nan, 1.0], region=UP), OUT, "undecided", "contradicted"),
        (interval(3, 1, n=3), OUT, "reproduced", "contradicted"),
    ],
)
def test_verdicts(arm, control, verdict, control_verdict):
    judgement = judge(arm, control)
    assert judgement.verdict == verdict, judgement.reason
    assert judgement.control_verdict == control_verdict
    assert judgement.reason.endswith(".")
    assert "\n" not in judgement.reason
    assert judge(arm, control, decided=False).verdict == "undecided"


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("arm_is_larger", [True, False])
def test_noise_is_the_facing_half_widths_in_quadrature(scale, arm_is_larger):
    """Half-widths 3 and 4 that face each other make 5; those that look away do not count."""

    def part(effect, below, above, region):
        if scale == "log":
            effect, below, above = (math.exp(v) for v in (effect, effect - below, effect + above))
            region = tuple(None if end is None else math.exp(end) for end in region)
            return Evidence(effect, below, above, 9, region, scale="log")
        return Evidence(effect, effect - below, effect + above, 9, region)

    for gap, verdict in ((4.999, "void"), (5.001, "inconclusive")):
        if arm_is_larger:
            region = (-1.0, None)
            arm, control = part(gap, 3, 50, (gap, None)), part(0, 50, 4, region)
        else:
            region = (None, 1.0)
            arm, control = part(0, 50, 3, (None, 0.0)), part(gap, 4, 50, region)
        assert judge(arm, control).verdict == verdict


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=8),
    st.tuples(st.floats(-5, 5), st.floats(0, 5)),
)
def test_a_claim_judged_against_itself_is_void(x, region):
    found = mean(x, region=(region[0], region[0] + region[1]))
    assert judge(found, found).verdict == "void"


def test_reason_names_effects_regions_and_counts():
    arm = mean([2.0, 2.1, 2.2], region=(1, None), label="Gain over MagPrune")
    control = mean([1.0, math.inf, 1.0], region=(1, None), label="Gain over MagPrune")
    assert judge(arm, control).reason == (
        "The effect 2.1 [1.852, 2.348] (Gain over MagPrune) lies in [1, inf); the control's is "
        "undefined (Gain over MagPrune) (1 of 3 values not finite)."
    )
    assert "n = 2" in judge(interval(3, 1, n=2), OUT).reason
    assert "has the property as well" in judge(IN, IN).reason


def test_decisive_part_is_the_worst_for_the_claim():
    assert judge([IN, ACROSS, OUT], [OUT] * 3).decisive == 2
    assert judge([IN, ACROSS], [OUT] * 2).decisive == 1
    assert judge([IN, IN], [OUT] * 2).decisive == 0


def test_judge_refuses_what_it_cannot_compare():
    with pytest.raises(TypeError, match="control must be Evidence"):
        judge(IN, None)
    with pytest.raises(TypeError, match="arm must hold Evidence only, got 3"):
        judge([IN, 3], [IN, IN])
    with pytest.raises(ValueError, match="control holds no evidence"):
        judge(IN, [])
    with pytest.raises(ValueError, match="arm has 2 parts and control 1"):
        judge([IN, IN], IN)
    with pytest.raises(ValueError, match="part 0 has scale 'linear' and 'log'"):
        judge(IN, ratio([1, 2, 3], [1, 1, 1], region=(1, None)))


def test_documented_coverage_table_is_where_the_script_writes_it():
    """The generated part of the page is there, between its markers, with every distribution."""
    page = (Path(__file__).parents[1] / "docs" / "evidence.md").read_text()
    table = page.split("<!-- coverage:begin -->")[1].split("<!-- coverage:end -->")[0]
    for distribution in ("normal", "exponential", "lognormal"):
        row = next(line for line in table.splitlines() if line.startswith(f"| {distribution}"))
        shares = [float(cell) for cell in row.split("|")[2:-1]]
        assert all(0.5 < share <= 1.0 for share in shares)


def test_a_control_that_was_not_measured_is_void_and_says_so():
    absent = mean([math.nan] * 3, region=UP)
    judgement = judge(IN, absent)
    assert (judgement.verdict, judgement.control_verdict) == ("void", "inconclusive")
    assert judgement.reason == "The control was not measured (3 of 3 values not finite)."
    assert absent.missing and not UNKNOWN.missing and not mean([math.inf] * 3, region=UP).missing
    # one part that was measured and failed is enough
    assert judge([IN, IN], [absent, OUT]).verdict == "reproduced"
    assert judge(absent, OUT).verdict == "inconclusive"
