"""From tables of runs to evidence: rows, one number per seed, and evidence group by group."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overparam.evidence import by_seed, exact, judge, mean, paired_difference, per_group, where
from overparam.store import Tables

RUNS = pd.DataFrame(
    [
        {"task": task, "method": method, "lam": lam, "seed": seed, "acc": seed + 10 * lam}
        for task in ("digits", "mnist1d")
        for method, lam in (("saf", 1.0), ("saf", 3.0), ("mesa", 1.0))
        for seed in (4, 3)
    ]
)


@given(st.sampled_from(["saf", "mesa", "sam"]), st.sampled_from([1.0, 3.0]), st.booleans())
def test_where_is_what_comparisons_give(method, lam, several):
    methods = [method, "mesa"] if several else method
    wanted = RUNS["method"].isin([method, "mesa"] if several else [method]) & (RUNS["lam"] == lam)
    pd.testing.assert_frame_equal(where(RUNS, method=methods, lam=lam), RUNS[wanted])


def test_where_reads_what_the_store_gives_back():
    stored = Tables.of({"runs": RUNS.assign(task=RUNS["task"].astype("category"))})["runs"]
    stored.loc[0, "method"] = None
    assert len(where(stored, task="digits", method="saf")) == 3
    assert len(where(stored, method=("saf", "mesa"))) == 11
    with pytest.raises(KeyError, match="methods"):
        where(RUNS, methods="saf")


def test_by_seed_holds_every_seed_in_order_and_nan_for_what_was_not_run():
    digits = where(RUNS, task="digits")
    found = by_seed(digits, "acc", method="saf", lam=3.0)
    assert found.to_dict() == {3: 33.0, 4: 34.0} and found.index.is_monotonic_increasing
    half = digits.drop(digits.index[(digits["method"] == "mesa") & (digits["seed"] == 4)])
    assert by_seed(half, "acc", method="mesa").fillna(-1).to_dict() == {3: 13.0, 4: -1.0}
    assert by_seed(digits, "acc", method="sam").isna().tolist() == [True, True]
    assert by_seed(digits.assign(acc=1), "acc", method="sam").dtype == np.float64


def test_two_methods_of_by_seed_pair_and_one_not_run_voids_the_claim():
    seeds = pd.DataFrame({"seed": range(5), "method": "a", "acc": [1.0, 1.1, 0.9, 1.0, 1.2]})
    runs = pd.concat([seeds, seeds.assign(method="b", acc=seeds["acc"] - 0.5)])

    def evidence(arm):
        pair = (by_seed(runs, "acc", method=method) for method in (arm, "b"))
        return paired_difference(*pair, region=(0.4, None))

    assert judge(evidence("a"), evidence("b")).verdict == "reproduced"
    assert judge(evidence("a"), evidence("never run")).verdict == "void"
    assert judge(evidence("never run"), evidence("b")).verdict == "inconclusive"


def test_a_seed_with_two_rows_is_refused():
    with pytest.raises(ValueError, match="seed 4 has more than one row with method='saf'"):
        by_seed(where(RUNS, task="digits"), "acc", method="saf")
    with pytest.raises(ValueError, match="seed 4 has more than one row with no column named"):
        by_seed(RUNS, "acc")


def test_evidence_of_each_group_in_order_with_its_name():
    def evidence(rows):
        yield mean(rows["acc"], region=(0, None), label="accuracy")
        yield exact(len(rows), region=(0, None))

    parts = per_group(RUNS[::-1], ["task", "lam"], evidence)
    assert [part.label for part in parts] == [
        "mnist1d, lam 1: accuracy", "mnist1d, lam 1", "mnist1d, lam 3: accuracy", "mnist1d, lam 3",
        "digits, lam 1: accuracy", "digits, lam 1", "digits, lam 3: accuracy", "digits, lam 3",
    ]  # fmt: skip
    assert [part.effect for part in parts[1::2]] == [4, 2, 4, 2]
    single = per_group(RUNS, "method", lambda rows: exact(len(rows), region=(0, None), label="n"))
    assert [(part.label, part.effect) for part in single] == [("saf: n", 8), ("mesa: n", 4)]


def test_categories_without_rows_are_no_groups():
    runs = RUNS.astype({"task": "category"})[RUNS["task"] == "digits"]
    assert len(per_group(runs, "task", lambda rows: exact(len(rows), region=(0, None)))) == 1


def test_no_group_at_all_is_undefined_and_decides_nothing():
    def evidence(rows):
        raise AssertionError("there is nothing to give evidence of")

    (part,) = per_group(RUNS[:0], ["task", "lam"], evidence)
    assert part.missing and part.label == "nothing was run (no task and lam)"
    assert judge(part, part).verdict == "void"
