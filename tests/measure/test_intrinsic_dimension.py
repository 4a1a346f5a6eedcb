"""The search for d_int on curves whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.measure.intrinsic_dimension import intrinsic_dimension, intrinsic_dimension_ratio
from overparam.measure.learning_rate_choice import LearningRateChoice

GRID = [10, 40, 80, 160]


class Step:
    """Performance 1 from d = jump[seed] on, .5 before; remembers what was trained."""

    def __init__(self, jumps: dict[int, float]) -> None:
        self.jumps = jumps
        self.calls: list[int] = []

    def __call__(self, dim: int, seeds: tuple[int, ...]) -> list[float]:
        self.calls.append(dim)
        return [1.0 if dim >= self.jumps[seed] else 0.5 for seed in seeds]


def test_grid_takes_the_first_success_of_the_mean_curve() -> None:
    scores = {10: [0.2, 0.4], 40: [0.95, 0.8], 80: [0.7, 0.95], 160: [0.9, 1.0]}
    result = intrinsic_dimension(lambda d, seeds: scores[d], GRID, [1.0, 0.9], seeds=[4, 5])
    # Mean baseline .95, threshold .855: .3, .875 (first), .825 (dips again), .95.
    assert result.threshold == pytest.approx(0.855)
    assert (result.d_int, result.lower_bound) == (40, 10)
    share = (0.855 - 0.3) / (0.875 - 0.3)
    assert result.crossing == pytest.approx(10 * 4**share)
    own = [10 * 4 ** ((0.9 - 0.2) / 0.75), 40 * 2 ** ((0.81 - 0.8) / 0.15)]
    assert result.seed_crossings == pytest.approx(own)
    assert result.table.to_dict("list") == {
        "dim": [10, 10, 40, 40, 80, 80, 160, 160],
        "seed": [4, 5] * 4,
        "performance": [0.2, 0.4, 0.95, 0.8, 0.7, 0.95, 0.9, 1.0],
    }


def test_exactly_at_the_threshold_counts() -> None:
    result = intrinsic_dimension(
        lambda d, seeds: [195.0 if d >= 4 else 194.9], [2, 4], 195.0, seeds=[0], ratio=1.0
    )
    assert result.d_int == 4
    assert result.ci is None


@settings(max_examples=60, deadline=None)
@given(jump=st.integers(1, 170), rtol=st.sampled_from([1e-9, 0.05, 0.5]))
def test_bisection_brackets_a_step(jump: int, rtol: float) -> None:
    train = Step({0: jump})
    result = intrinsic_dimension(train, GRID, 1.0, seeds=[0], search="bisect", rtol=rtol)
    assert len(set(train.calls)) == len(train.calls)
    if jump > 160:
        assert (result.d_int, result.lower_bound, result.crossing) == (None, 160, math.inf)
        assert train.calls == GRID
        return
    assert result.lower_bound < jump <= result.d_int
    assert result.d_int - result.lower_bound == 1 or result.d_int <= (1 + rtol) * result.lower_bound
    if rtol < 1e-6:
        assert result.d_int == jump


def test_bisection_trains_less_than_the_grid_would() -> None:
    train = Step({0: 100})
    intrinsic_dimension(train, list(range(1, 1025)), 1.0, seeds=[0])
    full = len(train.calls)
    train.calls.clear()
    dims = [2**k for k in range(11)]
    result = intrinsic_dimension(train, dims, 1.0, seeds=[0], search="bisect", rtol=1e-9)
    assert result.d_int == 100
    assert len(train.calls) < 16 < full
    assert max(train.calls) == 128


def test_nothing_reaches_the_threshold() -> None:
    for search in ("grid", "bisect"):
        result = intrinsic_dimension(Step({0: 999, 1: 999}), GRID, 1.0, seeds=[0, 1], search=search)
        assert result.d_int is None
        assert result.lower_bound == 160
        assert result.crossing == math.inf
        assert result.ci == (math.inf, math.inf)


def test_smallest_dimension_succeeds() -> None:
    result = intrinsic_dimension(Step({0: 1}), GRID, 1.0, seeds=[0])
    assert (result.d_int, result.lower_bound, result.crossing) == (10, 0, 10.0)


def test_diverged_runs_count_as_chance() -> None:
    result = intrinsic_dimension(
        lambda d, seeds: [math.nan, 1.0] if d < 80 else [1.0, 1.0],
        GRID, 1.0, seeds=[0, 1], chance=0.1,
    )  # fmt: skip
    assert result.d_int == 80
    assert result.table["performance"].tolist()[:2] == [0.1, 1.0]


def test_interval_agrees_with_all_resamples_of_three_seeds() -> None:
    """With 3 seeds the bootstrap law has 27 atoms: compare with the exact one."""
    curves = np.array([[0.1, 0.5, 0.95, 1.0], [0.1, 0.85, 0.96, 1.0], [0.1, 0.7, 0.8, 1.0]])
    scores = dict(zip(GRID, curves.T.tolist(), strict=True))
    result = intrinsic_dimension(
        lambda d, seeds: scores[d], GRID, 1.0, seeds=[0, 1, 2], resamples=20_000, level=0.9
    )
    exact = []
    for drawn in np.ndindex(3, 3, 3):
        mean = curves[list(drawn)].mean(axis=0)
        k = int(np.argmax(mean >= 0.9))
        share = (0.9 - mean[k - 1]) / (mean[k] - mean[k - 1])
        exact.append(math.exp(np.interp(share, [0, 1], np.log([GRID[k - 1], GRID[k]]))))
    resampled = result.resampled_crossings
    for level in np.unique(np.round(exact, 6)):
        assert np.mean(resampled <= level + 1e-5) == pytest.approx(
            np.mean(np.array(exact) <= level + 1e-5), abs=0.015
        )
    assert result.ci is not None
    low, high = result.ci
    assert low == pytest.approx(np.quantile(exact, 0.05, method="lower"), rel=1e-9)
    assert high == pytest.approx(np.quantile(exact, 0.95, method="higher"), rel=1e-9)
    assert low < result.crossing < high


def test_interval_has_an_open_end_where_resamples_fail() -> None:
    result = intrinsic_dimension(Step({0: 40, 1: 999}), GRID, [0.7, 0.9], seeds=[0, 1])
    assert result.ci is not None
    assert result.ci[0] < 40
    assert result.ci[1] == math.inf


def test_ratio_pairs_resamples() -> None:
    seeds = [0, 1, 2, 3]
    jumps = {0: 20.0, 1: 50.0, 2: 30.0, 3: 70.0}

    def curve(factor: float):
        return lambda d, seeds: [min(1.0, (d / (factor * jumps[s])) ** 0.5) for s in seeds]

    dims = np.unique(np.geomspace(5, 1000, 200).astype(int)).tolist()
    small = intrinsic_dimension(curve(1.0), dims, 1.0, seeds=seeds)
    large = intrinsic_dimension(curve(3.0), [3 * d for d in dims], 1.0, seeds=seeds)
    ratio, low, high = intrinsic_dimension_ratio(large, small)
    assert (ratio, low, high) == pytest.approx((3.0, 3.0, 3.0))
    never = intrinsic_dimension(Step(dict.fromkeys(seeds, 9999)), GRID, 1.0, seeds=seeds)
    assert intrinsic_dimension_ratio(never, small) == (math.inf, math.inf, math.inf)
    assert intrinsic_dimension_ratio(small, never) == (0.0, 0.0, 0.0)
    both = intrinsic_dimension_ratio(never, never)
    assert math.isnan(both[0])
    assert both[1:] == (0.0, math.inf)
    fewer = intrinsic_dimension(curve(1.0), dims, 1.0, seeds=seeds, resamples=10)
    with pytest.raises(ValueError, match="10 and 2000 resamples"):
        intrinsic_dimension_ratio(fewer, small)
    with pytest.raises(ValueError, match="level must lie"):
        intrinsic_dimension_ratio(small, small, level=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": []}, "dims must be increasing"),
        ({"dims": [10, 10]}, "dims must be increasing"),
        ({"dims": [40, 10]}, "dims must be increasing"),
        ({"dims": [0, 10]}, "dims must be increasing"),
        ({"dims": [10, 20.5]}, "dims must be increasing integers"),
        ({"seeds": []}, "seeds must be distinct"),
        ({"seeds": [1, 1]}, "seeds must be distinct"),
        ({"baseline": 0.05, "chance": 0.1}, "above chance = 0.1, got mean 0.05"),
        ({"baseline": 0.0}, "above chance"),
        ({"baseline": math.nan}, "above chance"),
        ({"baseline": [0.9, 0.9]}, "one number or 1"),
        ({"ratio": 0.0}, "ratio must lie"),
        ({"rtol": 0.0}, "rtol must lie"),
        ({"level": 1.0}, "level must lie"),
        ({"resamples": 0}, "resamples must be at least 1"),
        ({"search": "random"}, "search must be"),
    ],
)
def test_bad_arguments_before_any_training(changes: dict, message: str) -> None:
    train = Step({0: 20})
    arguments = {"dims": GRID, "baseline": 1.0, "seeds": [0], **changes}
    with pytest.raises(ValueError, match=message):
        intrinsic_dimension(train, **arguments)
    assert train.calls == []


def test_train_function_returns_one_number_per_seed() -> None:
    with pytest.raises(ValueError, match=r"each of 2 seeds, got shape \(1,\) at dim 10"):
        intrinsic_dimension(lambda d, seeds: [1.0], GRID, 1.0, seeds=[0, 1])


def test_learning_rate_is_chosen_on_selection_scores_per_dim() -> None:
    best = {10: 0.3, 40: 0.1, 80: 0.03, 160: 0.1}

    def train(dim: int, seeds: tuple[int, ...], rate: float):
        good = rate == best[dim]
        # The wrong rate has the better test performance: it must not be looked at.
        return [0.9 if good else 0.2] * len(seeds), [0.5 if good else 1.0] * len(seeds)

    choice = LearningRateChoice(train, [0.03, 0.1, 0.3])
    result = intrinsic_dimension(choice, GRID, 0.5, seeds=[0, 1], ratio=1.0)
    assert result.d_int == 10
    chosen = choice.table.query("chosen")
    assert dict(zip(chosen["dim"], chosen["learning_rate"], strict=True)) == best
    assert chosen["performance"].eq(0.5).all()
    assert chosen["at_edge"].tolist() == [True, False, True, False]
    assert len(choice.table) == 12


def test_diverged_rates_lose() -> None:
    scores = {1.0: math.nan, 0.1: 0.2}
    choice = LearningRateChoice(lambda d, s, rate: ([scores[rate]], [rate]), [1.0, 0.1])
    assert choice(5, (0,)) == [0.1]
    none = LearningRateChoice(lambda d, s, rate: ([math.nan], [0.0]), [1.0])
    with pytest.raises(ValueError, match="no rate"):
        none(5, (0,))


@pytest.mark.parametrize("rates", [[], [0.1, 0.1], [0.0, 0.1], [-1.0]])
def test_bad_rates(rates: list[float]) -> None:
    with pytest.raises(ValueError, match="rates must be positive and distinct"):
        LearningRateChoice(lambda d, s, r: ([], []), rates)
