"""Claims judged on what is stored: five verdicts, permuted controls, the level of a family."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from overparam.evidence import current_level, exact
from overparam.store import Tables
from overparam.studies import load
from overparam.study import StepFailed, Study, StudyConfig, make_plan, permuted, verdicts_of

TOYS = Path(__file__).parent.parent / "toys"


@pytest.fixture(scope="module")
def study():
    return load(str(TOYS / "claims.py"))


@pytest.fixture(scope="module")
def quick(study, tmp_path_factory):
    return study.run(tmp_path_factory.mktemp("store"))


def by_name(results):
    return {verdict.claim.name: verdict for verdict in results.verdicts}


def test_each_kind_of_verdict(quick):
    found = {name: verdict.verdict for name, verdict in by_name(quick).items()}
    assert found["held"] == "reproduced" and found["refuted"] == "contradicted"
    assert found["void"] == "void"  # the control is as good as the arm
    assert found["later"] == "undecided"  # decided at full
    assert found["certain"] == "reproduced" and found["both"] == "reproduced"


def test_full_decides_what_quick_can_not(study, tmp_path):
    found = by_name(study.run(tmp_path, profile="full"))
    assert found["later"].verdict == "reproduced"
    assert found["labelled"].verdict == "reproduced"
    assert found["labelled"].to_dict()["control"]["name"] == "method permuted"


def test_too_few_seeds_leave_a_claim_undecided(study, tmp_path):
    found = by_name(study.run(tmp_path, seeds=2))
    assert found["held"].verdict == "undecided" and found["certain"].verdict == "reproduced"


def test_the_level_is_one_minus_five_percent_over_the_number_of_claims(quick):
    frame = quick.tables("measured")["measured"].pivot(
        index="seed", columns="method", values="value"
    )
    differences = (frame["better"] - frame["plain"]).to_numpy()
    level = 1 - 0.05 / len(quick.verdicts)
    low, high = stats.t.interval(
        level, len(differences) - 1, differences.mean(), stats.sem(differences)
    )
    row = by_name(quick)["held"].to_dict()
    assert len(quick.verdicts) == 7
    assert row["effect"] == pytest.approx(differences.mean(), rel=1e-12)
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-9)
    assert current_level() == 0.95  # outside of judging


def test_the_level_stays_that_of_the_family_when_some_claims_can_not_be_read(tmp_path):
    levels = []

    def rows(*, seeds):
        return pd.DataFrame({"seed": seeds})

    def gone(*, seeds):
        return pd.DataFrame({"seed": seeds})

    def readable(rows, *, arm):
        levels.append(current_level())
        return exact(float(arm), region=(1.0, None))

    def unreadable(gone, *, arm):
        raise AssertionError("nothing is there to read")

    study = Study("partly", theme="toys", config=StudyConfig, question="?")
    for step in (rows, gone):
        study.generate(step)
    for claim in (readable, unreadable):
        study.claim(claim.__name__, source="s", arm="1", control="0")(claim)
    store = study_store(tmp_path, study, {"rows"})
    plan = make_plan(study)
    plan.lose(plan.cells_of(study.steps["gone"])[0])
    (verdict,) = verdicts_of(plan, store)
    assert verdict.verdict == "reproduced"
    assert levels == [1 - 0.05 / 2] * 2


def study_store(tmp_path, study, steps):
    """A store in which some steps of a study have run."""
    from overparam.store import Store
    from overparam.study import run_unit

    store = Store.open(tmp_path)
    plan = make_plan(study)
    for unit in plan.units:
        if unit.step.name in steps:
            run_unit(plan, unit, store)
    return store


def test_rows_of_verdicts_have_the_fields_of_the_contract(quick):
    for verdict in quick.verdicts:
        row = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
        assert {"claim", "source", "verdict", "effect", "low", "high", "n", "region"} < set(row)
        assert {"name", "verdict", "effect", "low", "high"} == set(row["control"])
        assert len(row["region"]) == 2 and row["decided_at"] in ("quick", "full")
    certain = by_name(quick)["certain"].to_dict()
    assert (certain["low"], certain["high"], certain["n"]) == (1.0, 1.0, None)
    parts = by_name(quick)["both"].to_dict()["parts"]
    assert len(parts) == 2 and all("control" in part for part in parts)
    assert quick.verdict_frame().columns.tolist()[:2] == ["claim", "verdict"]


def test_permuted_labels_stay_within_their_seed_and_are_the_same_every_time():
    frame = pd.DataFrame(
        {
            "seed": np.repeat(np.arange(6), 8),
            "method": np.tile(list("abcdefgh"), 6),
            "value": np.arange(48.0),
        }
    )
    other = pd.DataFrame({"value": [1.0, 2.0]})
    tables = Tables.of({"runs": frame, "other": other})
    control = permuted("method").apply(tables)
    shuffled = control["runs"]
    pd.testing.assert_frame_equal(
        shuffled.drop(columns="method"), tables["runs"].drop(columns="method")
    )
    pd.testing.assert_frame_equal(control["other"], tables["other"])
    orders = set()
    for _, group in shuffled.groupby("seed"):
        assert sorted(group["method"]) == list("abcdefgh")
        orders.add("".join(group["method"]))
    assert len(orders) > 3 and "abcdefgh" not in orders
    pd.testing.assert_frame_equal(permuted("method").apply(tables)["runs"], shuffled)
    # who else is in the table does not matter to a seed
    few = Tables.of({"runs": frame[frame["seed"] >= 3].reset_index(drop=True)})
    alone = permuted("method").apply(few)["runs"]
    assert alone["method"].tolist() == shuffled[shuffled["seed"] >= 3]["method"].tolist()


def test_permuted_without_a_seed_column_shuffles_the_whole_table():
    frame = pd.DataFrame({"method": list("abcdefgh"), "value": range(8)})
    shuffled = permuted("method").apply(Tables.of({"runs": frame}))["runs"]
    assert sorted(shuffled["method"]) == list("abcdefgh")
    assert shuffled["method"].tolist() != list("abcdefgh")


@pytest.mark.parametrize(
    ("evidence", "words"),
    [(lambda: 1 / 0, "ZeroDivisionError"), (lambda: 3, "TypeError"), (list, "no evidence")],
)
def test_a_claim_that_raises_or_returns_nonsense_is_named(tmp_path, evidence, words):
    def rows(*, seeds):
        return pd.DataFrame({"seed": seeds})

    def claimed(rows, *, arm):
        return evidence()

    study = Study("nonsense", theme="toys", config=StudyConfig, question="?")
    study.generate(rows)
    study.claim("x", source="s", arm="1", control="0")(claimed)
    with pytest.raises(StepFailed, match=f"claim 'claimed': .*{words}"):
        study.run(tmp_path)


def test_a_damaged_table_that_only_a_claim_reads_is_computed_again(study, tmp_path):
    first = study.run(tmp_path)
    (table,) = Path(first.records[0].path).glob("*.parquet")
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 0xFF
    table.write_bytes(data)
    with pytest.warns(UserWarning, match="computed again"):
        again = study.run(tmp_path)
    assert [v.to_dict() for v in again.verdicts] == [v.to_dict() for v in first.verdicts]


def test_a_study_without_claims_has_no_verdicts(tmp_path):
    results = load(str(TOYS / "toy_base.py")).run(tmp_path)
    assert results.verdicts == [] and results.ok
    assert results.verdict_frame().empty


def test_a_control_that_permutes_a_column_of_no_table_is_refused(tmp_path):
    def rows(*, seeds):
        return pd.DataFrame({"seed": seeds})

    def equal(rows, *, arm):
        return exact(1.0, region=(0.5, None))

    study = Study("small", theme="toys", config=StudyConfig, question="?")
    study.evaluate(rows)
    study.claim("Equal", source="nowhere", arm="one", control=permuted("method"))(equal)
    with pytest.raises(StepFailed, match=r"claim 'equal'.*no table has the column 'method'"):
        study.run(tmp_path)
