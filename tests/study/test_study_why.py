"""What changed since a step last ran."""

import shutil
from pathlib import Path

import pytest

from overparam.studies import load
from overparam.study import make_plan
from overparam.study.why import explain

TOYS = Path(__file__).parent.parent / "toys"


@pytest.fixture
def coin(tmp_path):
    """A copy of the toy that a test may edit."""
    return Path(shutil.copy(TOYS / "coin.py", tmp_path / "coin.py"))


def reasons(file, store, **overrides):
    return explain(make_plan(load(str(file)), "quick", {"seeds": 2, **overrides}), store)


def changes(rows, step):
    (found,) = {tuple((c.kind, c.what) for c in row.changes) for row in rows if row.step == step}
    return dict.fromkeys(found)


def test_nothing_stored_then_nothing_to_do(coin, store):
    rows = reasons(coin, store)
    assert all(row.would_run for row in rows)
    assert {change.kind for row in rows for change in row.changes} == {"missing"}
    load(str(coin)).run(store, seeds=2)
    assert not any(row.would_run or row.changes for row in reasons(coin, store))


def test_a_config_field_with_old_and_new(coin, store):
    load(str(coin)).run(store, seeds=2)
    rows = reasons(coin, store, keep=7)
    assert {row.step for row in rows if row.would_run} == {"shortened", "shares"}
    first = next(row for row in rows if row.step == "shortened")
    (change,) = first.to_dict()["changes"]
    assert change == {"kind": "config", "what": "keep", "old": 20, "new": 7}
    assert str(first.changes[0]) == "config: keep was 20, is 7"
    assert list(changes(rows, "shares")) == [("upstream", "shortened")]


def test_a_function_of_a_file(coin, store):
    load(str(coin)).run(store, seeds=2)
    coin.write_text(coin.read_text().replace(".head(keep)", ".tail(keep)"))
    rows = reasons(coin, store)
    assert list(changes(rows, "shortened")) == [("code", "coin:shortened")]
    assert list(changes(rows, "shares")) == [("upstream", "shortened")]
    assert not any(row.would_run for row in rows if row.step in ("chances", "flipped"))


def test_a_new_helper_is_new(coin, store):
    load(str(coin)).run(store, seeds=2)
    text = coin.read_text().replace(".head(keep)", ".head(fewer(keep))")
    coin.write_text(text + "\n\ndef fewer(keep):\n    return keep - 1\n")
    rows = reasons(coin, store)
    assert list(changes(rows, "shortened")) == [("code", "coin:fewer"), ("code", "coin:shortened")]
    first = next(row for row in rows if row.step == "shortened")
    assert [str(change) for change in first.changes] == [
        "code: coin:fewer is new",
        "code: coin:shortened changed",
    ]


def test_a_data_file(tmp_path, store):
    study = load(str(TOYS / "content.py"))
    data = tmp_path / "data.csv"
    data.write_text("a\n1\n")
    study.run(store, data=str(data))
    data.write_text("a\n2\n")
    (row,) = explain(make_plan(study, "quick", {"data": str(data)}), store)
    (change,) = row.changes
    assert (row.would_run, change.kind, change.what) == (True, "data", "data")
    assert change.old["content"] != change.new["content"]


def test_from_no_file_to_one_is_data_too(tmp_path, store):
    study = load(str(TOYS / "content.py"))
    study.run(store)
    data = tmp_path / "data.csv"
    data.write_text("a\n1\n")
    (row,) = explain(make_plan(study, "quick", {"data": str(data)}), store)
    assert [(c.kind, c.what) for c in row.changes] == [("data", "data")]


def test_another_stage_is_code(coin, store):
    load(str(coin)).run(store, seeds=2)
    coin.write_text(coin.read_text().replace("@study.compress(", "@study.evaluate("))
    rows = reasons(coin, store)
    assert not any(row.would_run for row in rows if row.step == "flipped")
    assert list(changes(rows, "shortened")) == [("code", "stage of shortened")]
