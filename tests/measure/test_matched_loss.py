import numpy as np
import pandas as pd
import pytest

from overparam.measure import matched_loss_report, sharpness_at_loss


def curve(method, seed, losses, scale, power=1.0):
    return pd.DataFrame(
        {
            "method": method,
            "seed": seed,
            "train_loss": losses,
            "lambda_max": scale * np.asarray(losses) ** power,
        }
    )


def test_power_laws_are_interpolated_exactly():
    losses = np.array([2.0, 1.0, 0.5, 0.1])
    found = sharpness_at_loss(losses, 3 * losses**0.7, [1.5, 0.7, 0.2, 0.05, 3.0])
    expected = 3 * np.array([1.5, 0.7, 0.2]) ** 0.7
    np.testing.assert_allclose(found[:3], expected)
    assert np.isnan(found[3:]).all()


def test_only_new_lows_with_a_measurement_count():
    losses = [2.0, 1.0, 1.5, 0.5, 0.4]
    sharpness = [2.0, 1.0, 99.0, 4.0, np.nan]
    found = sharpness_at_loss(losses, sharpness, [1.5, 0.5, 0.45])
    np.testing.assert_allclose(found[:2], [1.5, 4.0])
    assert np.isnan(found[2])
    assert np.isnan(sharpness_at_loss([1.0], [np.nan], [1.0])).all()


def test_report_sees_through_unequal_final_losses():
    """Twice as sharp at every loss, though flatter at the end because it is fitted further."""
    path = pd.concat(
        [
            part
            for seed in (0, 1)
            for part in (
                curve("sgd", seed, [2.0, 0.5, 0.1, 0.01], 2.0),
                curve("flat", seed, [2.0, 1.0, 0.5], 1.0),
                curve("apart", seed, [9.0, 5.0], 1.0),
            )
        ]
    )
    last = path.groupby("method")["lambda_max"].min()
    assert last["sgd"] < last["flat"]
    report = matched_loss_report(path, "sgd", levels=3)
    ratios = report.groupby("method")["ratio"].agg(["min", "max", "size"])
    np.testing.assert_allclose(ratios.loc["flat", ["min", "max"]], 0.5)
    np.testing.assert_allclose(ratios.loc["sgd", ["min", "max"]], 1.0)
    assert ratios["size"].to_dict() == {"flat": 6, "sgd": 6}
    levels = report.loc[report["method"] == "flat", "loss_level"]
    assert 0.5 < levels.min() < levels.max() < 2.0


def test_nothing_to_compare_gives_an_empty_report_of_the_same_types():
    path = pd.concat([curve("sgd", 0, [9.0, 5.0], 1.0), curve("flat", 0, [1.0, 0.5], 1.0)])
    report = matched_loss_report(path, "sgd")
    alone = matched_loss_report(path[path["method"] == "flat"], "flat")
    assert set(report["method"]) == {"sgd"} and not alone.empty
    single = curve("sgd", 0, [1.0], 1.0)
    empty = matched_loss_report(single, "sgd")
    assert empty.empty and (empty.dtypes == alone.dtypes).all()


def test_tasks_are_reported_each_by_itself():
    tasks = {
        "a": [curve("sgd", 0, [2.0, 0.5], 2.0), curve("flat", 0, [2.0, 0.4], 1.0)],
        "b": [curve("sgd", 0, [20.0, 5.0], 2.0), curve("flat", 0, [20.0, 4.0], 3.0)],
        "no baseline": [curve("flat", 0, [2.0, 0.5], 1.0)],
        "apart": [curve("sgd", 0, [9.0, 5.0], 1.0), curve("flat", 0, [1.0, 0.5], 1.0)],
    }
    parts = {task: pd.concat(part).assign(task=task) for task, part in tasks.items()}
    report = matched_loss_report(pd.concat(parts.values()), "sgd", within="task")
    assert set(report["task"]) == {"a", "b", "apart"}
    for task in ("a", "b", "apart"):
        own = matched_loss_report(parts[task], "sgd").assign(task=task)
        found = report[report["task"] == task].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, own)
    empty = matched_loss_report(parts["no baseline"], "sgd", within="task")
    assert empty.empty and empty.dtypes.to_dict() == report.dtypes.to_dict()


def test_bad_input():
    with pytest.raises(ValueError, match="positive"):
        sharpness_at_loss([0.0, 1.0], [1.0, 1.0], [0.5])
    with pytest.raises(ValueError, match="positive"):
        sharpness_at_loss([1.0, 0.5], [1.0, 1.0], [-0.5])
    with pytest.raises(ValueError, match="shape"):
        sharpness_at_loss([1.0], [1.0, 1.0], [0.5])
    path = curve("sgd", 0, [1.0, 0.5], 1.0)
    with pytest.raises(ValueError, match="baseline='sam'"):
        matched_loss_report(path, "sam")
    with pytest.raises(ValueError, match="lambda_max"):
        matched_loss_report(path.drop(columns="lambda_max"), "sgd")
    with pytest.raises(ValueError, match="task"):
        matched_loss_report(path, "sgd", within="task")
    with pytest.raises(ValueError, match="levels=0"):
        matched_loss_report(path, "sgd", levels=0)
