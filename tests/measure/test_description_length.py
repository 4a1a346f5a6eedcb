"""The two-part code length by hand."""

import math

import pytest

from overparam.measure.description_length import mdl_upper_bound


def test_parts_add_up() -> None:
    code = mdl_upper_bound(120, mean_loss=0.25, examples=1000, bits=8, full_dim=55_210)
    assert code.parameter_bits == 960
    assert code.seed_bits == 64
    assert code.residual_bits == pytest.approx(250 / math.log(2))
    assert code.bits == pytest.approx(960 + 64 + 250 / math.log(2))
    assert code.nats == pytest.approx(1024 * math.log(2) + 250)
    assert code.compression_ratio == pytest.approx(32 * 55_210 / 1024)


def test_default_is_32_bits() -> None:
    code = mdl_upper_bound(10, mean_loss=0.0, examples=0, full_dim=1000)
    assert code.bits == 32 * 10 + 64
    assert code.compression_ratio == 32_000 / 384
    assert mdl_upper_bound(10, mean_loss=0.0, examples=0).compression_ratio is None


def test_guessing_ten_classes_costs_log2_ten_per_label() -> None:
    code = mdl_upper_bound(1, mean_loss=math.log(10), examples=3, bits=1, seed_bits=0)
    assert code.bits == pytest.approx(1 + 3 * math.log2(10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"examples": -1}, "examples must be at least 0"),
        ({"bits": 0}, "bits must be positive"),
        ({"seed_bits": -1}, "seed_bits at least 0"),
        ({"mean_loss": -0.1}, "mean_loss must be finite"),
        ({"mean_loss": math.nan}, "mean_loss must be finite"),
        ({"mean_loss": math.inf}, "mean_loss must be finite"),
        ({"full_dim": 9}, "full_dim must be at least dim = 10, got 9"),
    ],
)
def test_bad_arguments(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mdl_upper_bound(**{"dim": 10, "mean_loss": 0.1, "examples": 5, **changes})
