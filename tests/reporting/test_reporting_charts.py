import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from overparam.reporting import charts
from overparam.reporting.figures import specification
from overparam.reporting.theme import ON_DARK, PALETTE, theme


@pytest.fixture
def frame():
    generator = np.random.Generator(np.random.Philox(key=7))
    rows = [
        {"size [n.]": size, "error:Q": generator.lognormal() / size, "method": method, "seed": seed}
        for size in (1, 10, 100, 1000)
        for method in ("b", "a")
        for seed in range(4)
    ]
    return pd.DataFrame(rows)


def rows_of(chart):
    return [row for rows in specification(chart)["datasets"].values() for row in rows]


def test_intervals_are_those_of_scipy(frame):
    found = charts.intervals(frame, ["method", "size [n.]"], "error:Q")
    assert list(found["method"].unique()) == ["b", "a"]
    for _, row in found.iterrows():
        group = frame[(frame["method"] == row["method"]) & (frame["size [n.]"] == row["size [n.]"])]
        values = group["error:Q"]
        low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
        np.testing.assert_allclose([row["low"], row["high"]], [low, high])
        assert row["n"] == 4


def test_intervals_of_the_logarithm(frame):
    plain = charts.intervals(frame.assign(y=np.log(frame["error:Q"])), ["method"], "y")
    logs = charts.intervals(frame, ["method"], "error:Q", log=True)
    columns = ["mean", "low", "high"]
    np.testing.assert_allclose(logs[columns], np.exp(plain[columns]))


def test_one_seed_has_no_interval_and_diverged_ones_are_left_out():
    frame = pd.DataFrame({"x": [1, 1, 2], "y": [3.0, np.inf, np.nan]})
    found = charts.intervals(frame, ["x"], "y")
    assert found[["x", "mean", "n"]].values.tolist() == [[1, 3.0, 1]]
    assert found[["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize("log", [False, True])
@given(st.integers(2, 300), st.integers(2, 50))
def test_thinning_keeps_the_ends_and_the_order(log, size, rows):
    frame = pd.DataFrame({"x": np.arange(1, size + 1), "y": 1.0}).sample(frac=1, random_state=0)
    thin = charts.thinned(frame, "x", rows=rows, log=log)
    assert len(thin) <= rows and thin["x"].is_monotonic_increasing
    assert {1, size} <= set(thin["x"])


def test_thinning_is_even_on_the_axis():
    frame = pd.DataFrame({"x": np.arange(1, 100_001), "who": "me"})
    thin = charts.thinned(frame, "x", ["who"], rows=101, log=True)
    assert np.diff(np.log(thin["x"].to_numpy()[60:])).std() < 0.01


def test_lines_of_many_curves_fit_a_page():
    frame = pd.DataFrame({"t": np.tile(np.arange(1, 5001), 6), "seed": np.repeat(range(6), 5000)})
    chart = charts.lines(frame.assign(e=1.0 / frame["t"]), "t", "e", each="seed", log_x=True)
    assert 1000 < len(rows_of(chart)) <= charts.LINE_ROWS


def test_histogram_counts_every_value(frame):
    rows = rows_of(charts.histogram(frame, "error:Q", "method", log_x=True, bins=7))
    assert sum(row["y"] for row in rows) == len(frame)
    assert min(row["x"] for row in rows) == pytest.approx(frame["error:Q"].min(), rel=1e-5)
    assert max(row["end"] for row in rows) == pytest.approx(frame["error:Q"].max(), rel=1e-5)


def test_columns_have_plain_names_and_their_titles_stay(frame):
    spec = specification(
        charts.band(frame, "size [n.]", "error:Q", "method", log_x=True, log_y=True)
    )
    fields = set(re.findall(r'"field": "(.*?)"', json.dumps(spec)))
    assert fields == {"x", "y", "low", "high", "series", "n"}
    line = spec["layer"][1]["encoding"]
    assert line["x"]["title"] == "size [n.]" and line["color"]["title"] == "method"
    assert line["color"]["scale"]["domain"] == ["b", "a"]
    assert line["strokeDash"]["scale"]["domain"] == ["b", "a"]


def test_series_differ_in_more_than_colour(frame):
    band = specification(charts.band(frame, "size [n.]", "error:Q", "method"))
    dashes = band["layer"][1]["encoding"]["strokeDash"]["scale"]["range"]
    assert len(set(map(tuple, dashes))) == 2
    points = specification(charts.scatter(frame, "size [n.]", "error:Q", "method"))
    assert points["encoding"]["shape"]["field"] == "series"


def test_no_two_series_look_the_same():
    frame = pd.DataFrame({"x": 1.0, "y": 1.0, "who": [f"w{i}" for i in range(30)]})
    encoding = specification(charts.lines(frame, "x", "y", "who"))["encoding"]
    dashes = encoding["strokeDash"]["scale"]["range"]
    looks = {(PALETTE[i % len(PALETTE)], tuple(dash)) for i, dash in enumerate(dashes)}
    assert len(looks) == 30


@pytest.mark.parametrize("draw", [charts.band, charts.points, charts.lines, charts.scatter])
def test_panels_have_axes_of_their_own_and_series_in_common(draw, frame):
    tasks = frame.assign(task="few").query("method == 'a'")
    both = pd.concat([frame.assign(task="all [n.]"), tasks])
    spec = specification(draw(both, "size [n.]", "error:Q", "method", panel="task"))
    assert spec["facet"] == {"field": "panel", "sort": None, "title": "task", "type": "nominal"}
    assert spec["columns"] == 2
    assert spec["resolve"] == {"scale": {"x": "independent", "y": "independent"}}
    inner = spec["spec"]
    encodings = [layer["encoding"] for layer in inner.get("layer", [inner])]
    assert all(found["color"]["scale"]["domain"] == ["b", "a"] for found in encodings)
    rows = [row for rows in spec["datasets"].values() for row in rows]
    assert list(dict.fromkeys(row["panel"] for row in rows)) == ["all [n.]", "few"]
    assert {row["series"] for row in rows if row["panel"] == "few"} == {"a"}


def test_points_and_bands_show_the_same_means_and_intervals(frame):
    where = frame, "size [n.]", "error:Q", "method"
    assert rows_of(charts.points(*where)) == rows_of(charts.band(*where))
    rule, point = specification(charts.points(*where))["layer"]
    assert (rule["mark"]["type"], point["mark"]["type"]) == ("rule", "point")
    assert rule["encoding"]["y"]["field"] == "low" and rule["encoding"]["y2"]["field"] == "high"


def test_one_column_may_be_place_and_series(frame):
    for draw in (charts.bars, charts.band, charts.points, charts.lines):
        assert {row["series"] for row in rows_of(draw(frame, "method", "error:Q", "method"))}


def test_names_down_the_side_lie_flat_however_many_there_are():
    frame = pd.DataFrame({"rho": 0.5, "method": [f"a long name {i}" for i in range(9)]})
    encoding = specification(charts.scatter(frame, "rho", "method"))["encoding"]
    assert encoding["y"]["axis"]["labelAngle"] == 0
    encoding = specification(charts.scatter(frame, "method", "rho"))["encoding"]
    assert encoding["x"]["axis"]["labelAngle"] == -30


@pytest.mark.parametrize("draw", [charts.band, charts.bars, charts.points])
def test_single_repetitions_have_no_interval_layer(draw):
    once = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})
    assert len(specification(draw(once, "x", "y"))["layer"]) == 1
    assert len(specification(draw(pd.concat([once, once + 0.5]), "x", "y"))["layer"]) == 1
    assert len(specification(draw(pd.concat([once, once]), "x", "y"))["layer"]) == 2


def test_long_logarithmic_axes_are_labelled_at_powers_of_ten():
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [1e-6, 1e6]})
    axis = specification(charts.scatter(frame, "x", "y", log_y=True))["encoding"]["y"]["axis"]
    assert len(axis["values"]) <= 8
    np.testing.assert_allclose(np.log10(axis["values"]) % 1, 0, atol=1e-9)


@pytest.mark.parametrize(
    "draw",
    [
        lambda f: charts.band(f, "x", "y", log_y=True),
        lambda f: charts.band(f, "y", "x", log_x=True),
        lambda f: charts.points(f, "x", "y", log_y=True),
        lambda f: charts.lines(f, "y", "x", log_x=True),
        lambda f: charts.scatter(f, "x", "y", log_y=True),
        lambda f: charts.histogram(f, "y", log_x=True),
    ],
)
def test_zero_on_a_logarithmic_axis_is_refused(draw):
    with pytest.raises(ValueError, match=r"logarithmic axis can't show .*0.0.* in 'y'"):
        draw(pd.DataFrame({"x": [1.0, 2.0], "y": [0.0, 1.0]}))


@pytest.mark.parametrize(
    "draw", [charts.band, charts.points, charts.lines, charts.scatter, charts.bars]
)
def test_empty_tables_are_refused(draw):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(pd.DataFrame({"x": [1.0], "y": [np.nan]}), "x", "y")


def test_theme_tells_light_from_dark():
    assert theme()["range"]["category"] == list(PALETTE)
    assert theme(dark=True)["range"]["category"] == list(ON_DARK)
    assert theme()["axis"]["labelColor"] != theme(dark=True)["axis"]["labelColor"]


def contrast(one, other):
    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_stand_out():
    assert all(contrast(color, "#16181c") >= 3 for color in ON_DARK)
    assert all(contrast(color, "#ffffff") >= 3 for color in PALETTE[:3])
    assert all(contrast(color, "#ffffff") >= 2 for color in PALETTE)
