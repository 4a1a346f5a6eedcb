import numpy as np
import pandas as pd
import pytest

from overparam.measure import size_trend

SIZES = pd.Series({"a": 1e3, "b": 1e4, "c": 1e5})


def test_a_power_law_is_found_seed_by_seed() -> None:
    exponents = pd.Series([0.0, 0.25, -0.5], index=[4, 5, 6])
    found = pd.DataFrame({m: 70 * (size / 1e4) ** exponents for m, size in SIZES.items()})
    trend = size_trend(SIZES, found)
    assert trend.index.tolist() == [4, 5, 6]
    assert np.allclose(trend["slope"], exponents)
    assert np.allclose(trend["largest"] / trend["smallest"], 100 ** exponents.abs())


def test_what_is_not_known_leaves_a_seed_undefined() -> None:
    found = pd.DataFrame({"a": [50.0, np.nan], "b": [60.0, 60.0], "c": [70.0, 70.0]})
    trend = size_trend(SIZES, found)
    assert trend.iloc[1].isna().all() and trend.iloc[0].notna().all()


def test_a_model_that_was_not_run_does_not_count() -> None:
    found = pd.DataFrame({"a": [50.0], "b": [np.nan], "c": [70.0]})
    trend = size_trend(SIZES.where(SIZES != 1e4), found)
    assert trend["slope"].tolist() == pytest.approx([np.log(1.4) / np.log(100)])


@pytest.mark.parametrize("sizes", [SIZES * np.nan, SIZES.where(SIZES < 1e5)])
def test_too_narrow_a_span_has_no_exponent(sizes: pd.Series) -> None:
    found = pd.DataFrame({"a": [50.0], "b": [60.0], "c": [70.0]})
    assert size_trend(sizes, found)["slope"].isna().all()
    with pytest.raises(ValueError, match="positive"):
        size_trend(SIZES, -found)
