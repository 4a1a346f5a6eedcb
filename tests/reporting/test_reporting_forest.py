import math

from hypothesis import given
from hypothesis import strategies as st

from overparam.evidence import Evidence
from overparam.reporting.forest import WIDTH, forest

SIZES = st.floats(1e-9, 1e9) | st.sampled_from([1e-300, 1e-12, 1.0, 1e15])
NUMBERS = st.builds(lambda sign, size: sign * size, st.sampled_from([-1.0, 0.0, 1.0]), SIZES)


@st.composite
def evidence(draw, numbers, scale):
    region = draw(
        st.tuples(numbers, st.none())
        | st.tuples(st.none(), numbers)
        | st.tuples(numbers, numbers).map(lambda pair: tuple(sorted(pair)))
    )
    low, effect, high = sorted(draw(st.tuples(numbers, numbers, numbers)))
    unbounded = draw(st.booleans())
    if unbounded:
        low, high = (0.0 if scale == "log" else -math.inf), math.inf
    if draw(st.integers(0, 9)) == 0:
        effect = math.nan
    return Evidence(effect, low, high, n=5, region=region, scale=scale)


def row(arm, control):
    parts = [{**arm.to_dict(), "control": control.to_dict()}]
    return {"arm": "ours", "control": {"name": "theirs"}, "parts": parts}


def check(arm, control):
    (panel,) = forest(row(arm, control))
    for mark, part in ((panel.arm, arm), (panel.control, control)):
        assert 0 <= mark.low <= mark.high <= WIDTH
        assert (mark.effect is None) == (not part.defined)
        if mark.effect is not None:
            assert 0 <= mark.effect <= WIDTH
            assert mark.cut_low or mark.low <= mark.effect + 0.01
            assert mark.cut_high or mark.effect <= mark.high + 0.01
        assert mark.cut_high or not math.isinf(part.high)
    assert 0 <= panel.region[0] <= panel.region[1] <= WIDTH
    assert len(panel.ends) == sum(end is not None for end in arm.region)
    ticks = [value for _, value in panel.ticks]
    assert ticks == sorted(set(ticks)) and len(ticks) <= 6
    assert all(-0.01 <= at <= WIDTH + 0.01 for at, _ in panel.ticks)


@given(evidence(NUMBERS, "linear"), evidence(NUMBERS, "linear"))
def test_everything_stays_on_the_linear_axis(arm, control):
    check(arm, control)


@given(evidence(SIZES, "log"), evidence(SIZES, "log"))
def test_everything_stays_on_the_log_axis(arm, control):
    check(arm, control)


def test_places_are_proportional():
    arm = Evidence(0.5, 0.4, 0.6, n=5, region=(0.2, 0.8))
    control = Evidence(0.0, -0.1, 0.1, n=5, region=(0.2, 0.8))
    (panel,) = forest(row(arm, control))
    scale = (panel.arm.effect - panel.control.effect) / 0.5
    assert math.isclose(panel.arm.high - panel.arm.low, 0.2 * scale, abs_tol=0.05)
    assert math.isclose(panel.region[1] - panel.region[0], 0.6 * scale, abs_tol=0.05)
    (first, zero), (second, half) = panel.ticks
    assert (zero, half) == (0.0, 0.5)
    assert math.isclose(second - first, 0.5 * scale, abs_tol=0.05)
    assert math.isclose(first, panel.control.effect, abs_tol=0.05)


def test_wide_control_does_not_squeeze_the_arm():
    arm = Evidence(0.5, 0.4, 0.6, n=5, region=(0.2, None))
    control = Evidence(0.3, -1000.0, 1000.0, n=5, region=(0.2, None))
    (panel,) = forest(row(arm, control))
    assert panel.control.cut_low and panel.control.cut_high
    assert panel.arm.high - panel.arm.low > WIDTH / 10


def test_open_side_of_the_region_reaches_the_edge():
    arm = Evidence(2.0, 1.5, 3.0, n=5, region=(1.0, None), scale="log")
    (panel,) = forest(row(arm, Evidence(1.0, 1.0, 1.0, n=5, region=(1.0, None), scale="log")))
    assert panel.log and panel.region[1] == WIDTH and panel.region[0] > 0
    assert not math.isclose(panel.arm.high - panel.arm.effect, panel.arm.effect - panel.arm.low)
