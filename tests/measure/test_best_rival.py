import numpy as np
import pandas as pd
import pytest

from overparam.measure import margin_over_best

RUNS = pd.DataFrame(
    {
        "method": ["ours", "mag", "snip"] * 2,
        "seed": [0] * 3 + [1] * 3,
        "acc": [0.9, 0.7, 0.2, 0.8, 0.3, 0.6],
    }
)


def test_the_best_on_average_not_in_each_seed():
    margin, best = margin_over_best(RUNS, "acc", "ours", ("mag", "snip"))
    assert best == "mag" and margin.index.tolist() == [0, 1]
    assert margin.tolist() == pytest.approx([0.2, 0.5])


def test_of_equally_good_rivals_the_first():
    equal = RUNS.assign(acc=0.5)
    assert margin_over_best(equal, "acc", "ours", ("snip", "mag"))[1] == "snip"


def test_a_rival_that_was_not_run_counts_as_nothing():
    assert margin_over_best(RUNS, "acc", "ours", ("grasp", "snip"))[1] == "snip"
    margin, best = margin_over_best(RUNS, "acc", "ours", ("grasp",))
    assert best == "grasp" and margin.isna().all()
    absent = RUNS.assign(acc=RUNS["acc"].where(RUNS["method"] != "mag", np.nan))
    assert margin_over_best(absent, "acc", "ours", ("mag", "snip"))[1] == "snip"


def test_bad_input():
    with pytest.raises(ValueError, match="rivals is empty"):
        margin_over_best(RUNS, "acc", "ours", ())
    with pytest.raises(ValueError, match="seed 0 has more than one row"):
        margin_over_best(pd.concat([RUNS, RUNS]), "acc", "ours", ("mag",))
