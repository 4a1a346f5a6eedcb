"""A name, and the training that it stands for."""

import math
import re

import pytest
import torch

from overparam.models import MLP, seeded
from overparam.training import (
    MESA,
    SAF,
    SAM,
    SHARPNESS_METHOD,
    Callback,
    Ensemble,
    RecomputedSAF,
    SharpnessMethod,
    batch_orders,
    fit,
)

OPTIONS = {"tau": 2.0, "distance": 2, "start": 3, "beta": 0.9}


def made(name):
    return SharpnessMethod.parse(name).callback(**OPTIONS)


@pytest.mark.parametrize(
    ("name", "family", "lam", "rho", "epochs"),
    [
        ("sgd", "sgd", None, None, 7),
        ("sgd_2x", "sgd", None, None, 14),
        ("sam_0.05", "sam", None, 0.05, 7),
        ("saf_.3", "saf", 0.3, None, 7),
        ("mesa_3", "mesa", 3.0, None, 7),
        ("saf_E0", "saf_E0", 1.0, None, 7),
        ("saf_recomputed_3", "saf_recomputed", 3.0, None, 7),
        ("saf_shuffled_0.3", "saf_shuffled", 0.3, None, 7),
        ("saf_reversed_1", "saf_reversed", 1.0, None, 7),
    ],
)
def test_names_are_read(name, family, lam, rho, epochs):
    method = SharpnessMethod.parse(name)
    assert method.family == family and method.epochs(7) == epochs
    for value, expected in ((method.lam, lam), (method.rho, rho)):
        assert math.isnan(value) if expected is None else value == expected


@pytest.mark.parametrize(
    "name",
    ["adam", "saf", "saf_", "saf_E1", "saf_1.2.3", "sgd_0x", "sgd_2", "sam_-1", "saf_another_1"],
)
def test_other_names_are_refused_by_pattern_and_parser(name):
    assert not re.match(SHARPNESS_METHOD, name)
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        SharpnessMethod.parse(name)


def test_callbacks_carry_the_settings():
    assert type(made("sgd")) is type(made("sgd_3x")) is Callback
    assert isinstance(made("sam_0.2"), SAM) and made("sam_0.2").rho.item() == 0.2
    for name, reference in (
        ("saf_1", "past"),
        ("saf_E0", "present"),
        ("saf_shuffled_1", "another"),
    ):
        saf = made(name)
        assert isinstance(saf, SAF) and saf.reference == reference
        assert (saf.lam, saf.tau, saf.distance, saf.start) == (1.0, 2.0, 2, 3)
    mesa = made("mesa_3")
    assert isinstance(mesa, MESA) and (mesa.lam, mesa.beta, mesa.warm_up) == (3.0, 0.9, False)
    assert (mesa.tau, mesa.start) == (2.0, 3)
    again = made("saf_recomputed_3")
    assert isinstance(again, RecomputedSAF) and (again.lam, again.past.maxlen) == (3.0, 2)


def test_reversed_saf_trains_by_the_reversed_divergence():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))

    def trained(method):
        ensemble = Ensemble([seeded(lambda: MLP((4, 8, 3)), 0)])
        fit(
            ensemble,
            x,
            torch.arange(20) % 3,
            epochs=6,
            batch_size=5,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.3),
            orders=batch_orders(20, 6, (0,)),
            callbacks=[method],
        )
        return torch.cat([p.flatten() for p in ensemble.parameters.values()])

    own = SAF(lam=1.0, tau=2.0, distance=2, start=3, reverse=True)
    assert torch.equal(trained(made("saf_reversed_1")), trained(own))
    assert not torch.equal(trained(made("saf_reversed_1")), trained(made("saf_1")))


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="start=1, distance=2"):
        SharpnessMethod.parse("saf_1").callback(distance=2, start=1)
    with pytest.raises(ValueError, match=r"rho=0\.0"):
        SharpnessMethod.parse("sam_0").callback()
