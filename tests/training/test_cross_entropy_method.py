"""The search on objectives whose maximum is known."""

import numpy as np
import pytest

from overparam.training.cross_entropy_method import cem

PEAK = np.array([4.0, -7.0, 0.5])


def bowl(x: np.ndarray, generation: int) -> np.ndarray:
    return -np.square(x - PEAK).sum(axis=-1)


def test_finds_the_maximum_of_a_bowl() -> None:
    found = cem(bowl, 3, seeds=[0, 1, 2])
    np.testing.assert_allclose(found.mean, np.tile(PEAK, (3, 1)), atol=0.02)
    np.testing.assert_allclose(found.best_score, 0, atol=1e-2)
    assert found.evaluations == 64 * 25
    assert (found.elite_scores[:, -1] > found.elite_scores[:, 0]).all()


def test_one_generation_by_hand() -> None:
    found = cem(bowl, 3, seeds=[9], population=8, elites=3, generations=1, start_deviation=2.0)
    z = np.random.Generator(np.random.Philox(key=9)).standard_normal((8, 3))
    candidates = 2.0 * z
    elite = candidates[np.argsort(np.square(candidates - PEAK).sum(axis=1))[:3]]
    np.testing.assert_allclose(found.mean[0], elite.mean(axis=0))
    np.testing.assert_allclose(found.deviation[0], elite.std(axis=0))
    np.testing.assert_allclose(found.best[0], elite[0])
    np.testing.assert_allclose(found.elite_scores[0, 0], bowl(elite, 0).mean())


def test_a_search_does_not_depend_on_its_company() -> None:
    together = cem(bowl, 3, seeds=[3, 8], generations=5)
    alone = cem(bowl, 3, seeds=[8], generations=5)
    np.testing.assert_array_equal(together.mean[1], alone.mean[0])
    np.testing.assert_array_equal(together.best[1], alone.best[0])


def test_best_is_kept_when_later_generations_are_worse() -> None:
    def fading(x: np.ndarray, generation: int) -> np.ndarray:
        return bowl(x, 0) - 1000.0 * generation

    first = cem(bowl, 3, seeds=[0], generations=1)
    later = cem(fading, 3, seeds=[0], generations=4)
    np.testing.assert_array_equal(later.best, first.best)
    np.testing.assert_array_equal(later.best_score, first.best_score)


def test_nan_is_the_worst() -> None:
    def half(x: np.ndarray, generation: int) -> np.ndarray:
        return np.where(x[..., 0] > 0, np.nan, bowl(x, 0))

    found = cem(half, 3, seeds=[0], generations=3)
    assert found.mean[0, 0] < 0
    assert np.isfinite(found.best_score).all()


def test_floor_of_the_deviation() -> None:
    found = cem(bowl, 3, seeds=[0], least_deviation=0.5)
    assert (found.deviation == 0.5).all()
    assert (cem(bowl, 3, seeds=[0]).deviation < 0.5).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "seeds must hold"),
        ({"dim": 0}, "at least 1, got 0 and 25"),
        ({"generations": 0}, "at least 1, got 3 and 0"),
        ({"elites": 1}, "elites must lie"),
        ({"elites": 65}, "elites must lie"),
        ({"start_deviation": 0.0}, "start_deviation must be positive"),
        ({"least_deviation": -1.0}, "least_deviation at least 0"),
    ],
)
def test_bad_arguments(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cem(bowl, **{"dim": 3, "seeds": [0], **changes})


def test_scores_must_fit() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 64\), got \(64,\)"):
        cem(lambda x, generation: bowl(x, 0)[0], 3, seeds=[0])
