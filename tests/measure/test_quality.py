"""Measures of predictions against scikit-learn and values by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from overparam.measure.quality import (
    accuracy,
    agreement,
    expected_calibration_error,
    macro_f1,
    rmse,
    worst_class,
)


def predictions(seed, n=80, classes=5):
    generator = torch.Generator().manual_seed(seed)
    outputs = 2 * torch.randn(n, classes, generator=generator)
    return outputs, torch.randint(0, classes, (n,), generator=generator)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 6))
def test_accuracy_and_f1_are_scikit_learns(seed, n, classes):
    outputs, targets = predictions(seed, n, classes)
    predicted = outputs.argmax(1)
    assert accuracy(outputs, targets) == pytest.approx(metrics.accuracy_score(targets, predicted))
    expected = metrics.f1_score(targets, predicted, average="macro", zero_division=0)
    assert macro_f1(outputs, targets) == pytest.approx(expected)


@given(st.integers(0, 10**6), st.integers(2, 6))
def test_the_worst_class_has_the_least_recall(seed, classes):
    outputs, targets = predictions(seed, 30, classes)
    recall = metrics.recall_score(targets, outputs.argmax(1), average=None, labels=targets.unique())
    names = [f"class {i}" for i in range(classes)]
    worst = worst_class(outputs, targets, names)
    assert worst.accuracy == pytest.approx(recall.min())
    number = int(targets.unique()[recall.argmin()])
    assert worst.name == names[number]
    assert worst.samples == int((targets == number).sum())


def test_calibration_by_hand():
    # Two samples of confidence .75, one right; two of .5: none right. Bins 12 and 8 of 15.
    outputs = torch.tensor([[3.0, 1.0], [1.0, 3.0], [1.0, 1.0], [1.0, 1.0]]).log()
    targets = torch.tensor([0, 0, 1, 1])
    assert expected_calibration_error(outputs, targets) == pytest.approx(
        0.5 * abs(0.5 - 0.75) + 0.5 * abs(0 - 0.5)
    )
    sure = torch.tensor([[100.0, 0.0]])
    assert expected_calibration_error(sure, torch.tensor([0])) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(sure, torch.tensor([1])) == pytest.approx(1)


def test_calibration_by_brute_force():
    outputs, targets = predictions(1, n=500)
    probabilities = outputs.double().softmax(1)
    error = 0.0
    for b in range(15):
        inside = [i for i in range(500) if b / 15 < probabilities[i].max() <= (b + 1) / 15]
        if inside:
            right = np.mean([probabilities[i].argmax() == targets[i] for i in inside])
            sure = np.mean([probabilities[i].max() for i in inside])
            error += len(inside) / 500 * abs(right - sure)
    assert expected_calibration_error(outputs, targets) == pytest.approx(error)


def test_rmse_is_scikit_learns():
    outputs, targets = torch.randn(40, 1), torch.randn(40)
    expected = metrics.root_mean_squared_error(targets, outputs[:, 0])
    assert rmse(outputs, targets) == pytest.approx(expected)
    wide, aims = torch.randn(40, 3), torch.randn(40, 3)
    assert rmse(wide, aims) == pytest.approx(metrics.mean_squared_error(aims, wide) ** 0.5)


def test_agreement():
    outputs, _ = predictions(2)
    other, _ = predictions(3)
    assert agreement(outputs, outputs * 2, "classification") == 1
    assert agreement(outputs, other, "classification") == pytest.approx(
        metrics.accuracy_score(other.argmax(1), outputs.argmax(1))
    )
    assert agreement(outputs[:, 0], other[:, 0], "regression") == pytest.approx(
        metrics.r2_score(other[:, 0], outputs[:, 0])
    )
    flat = torch.ones(4)
    assert agreement(flat, flat, "regression") == 1
    assert agreement(flat + 1, flat, "regression") == float("-inf")


@pytest.mark.parametrize("measure", [accuracy, macro_f1, expected_calibration_error, worst_class])
def test_bad_input_of_a_classification(measure):
    with pytest.raises(ValueError, match=r"shape \(3, 2\), targets \(2,\)"):
        measure(torch.zeros(3, 2), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="N >= 1"):
        measure(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="1 of 4 outputs are NaN"):
        measure(torch.tensor([[0.0, 1.0], [float("nan"), 1.0]]), torch.tensor([0, 1]))


def test_other_bad_input():
    with pytest.raises(ValueError, match="as many numbers"):
        rmse(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="2 of 2 outputs"):
        rmse(torch.full((2,), torch.inf), torch.zeros(2))
    with pytest.raises(ValueError, match="kind is 'ranking'"):
        agreement(torch.zeros(2, 2), torch.zeros(2, 2), "ranking")
    with pytest.raises(ValueError, match="allowed: the same"):
        agreement(torch.zeros(2, 2), torch.zeros(2, 3), "classification")
    with pytest.raises(ValueError, match="1 names"):
        worst_class(torch.zeros(2, 2), torch.tensor([0, 1]), ["a"])
    with pytest.raises(ValueError, match="bins is 0"):
        expected_calibration_error(torch.zeros(2, 2), torch.tensor([0, 1]), bins=0)
