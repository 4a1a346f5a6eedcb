"""Figures that are tables, and the answer of a study without claims."""

import json

import numpy as np
import pandas as pd
import pytest

from overparam.errors import DeclarationError
from overparam.reporting import make_report
from overparam.reporting.compressed import budget_table, operating_points, remarks_table
from overparam.studies import load

STUDY = """
import pandas as pd
from overparam.study import Study, StudyConfig

study = Study("answering", theme="toys", config=StudyConfig, question="How many?")


@study.generate
def rows(*, seeds):
    return pd.DataFrame({"seed": seeds, "share": [s / 3 for s in seeds], "note": "<b>"})


@study.figure("As a table", caption="One row per seed.")
def shown(rows):
    return rows["rows"]


@study.answer
def answer(rows):
    return f"There are {len(rows['rows'])} rows."
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "answering.py").write_text(STUDY)
    return load(str(tmp_path / "answering.py"))


def test_a_data_frame_becomes_a_table_and_the_answer_a_sentence(study, store):
    results = study.run(store, seeds=2)
    report = make_report(results.plan, store, results.records, command="overparam run x")
    assert report.answer == "There are 2 rows."
    (figure,) = store.read(report_of(store, report))["figures"].to_dict("records")
    assert figure["spec"] == "" and figure["error"] == ""
    assert json.loads(figure["table"]) == {
        "columns": ["seed", "share", "note"],
        "numeric": [True, True, False],
        "rows": [["0", "0", "<b>"], ["1", "0.333", "<b>"]],
    }
    page = store.reports.joinpath("answering").glob("*.html")
    text = next(iter(page)).read_text()
    assert "There are 2 rows." in text and "&lt;b&gt;" in text and "<b>" not in text
    assert "What the verdicts mean" not in text


def report_of(store, report):
    from overparam.store import ArtifactRef

    return ArtifactRef("answering", "report", report.record.key)


def test_one_answer_and_none_beside_claims(study):
    with pytest.raises(DeclarationError, match="has an answer already, or claims"):
        study.answer(study.answers[0].function)
    coin = load("matrix-sensing")
    with pytest.raises(DeclarationError, match="has an answer already, or claims"):

        @coin.answer
        def answer(descents):
            return ""


FRONT = pd.DataFrame(
    {
        "method": ["magnitude", "magnitude", "int8"],
        "ratio": [2.0, 3.0, np.nan],
        "label": ["magnitude at ratio 2", "magnitude at ratio 3", "int8"],
        "meets": [True, False, True],
        "accuracy": [0.9, 0.8, 0.95],
        "low": [0.88, 0.8, 0.95],
        "high": [0.92, 0.8, 0.95],
        "format": ["sparse", "sparse", "packed int8"],
        "bytes": [500.4, 400.0, 250.0],
        "latency": [1.0, 1.0, 0.5],
        "flops": [10, 10, 10],
        "agreement": [0.9, 0.8, 1.0],
        "n": [2, 2, 1],
    }
)


def test_the_budget_table_compares_with_the_dense_model():
    table = budget_table(FRONT, pd.Series({"bytes": 1000.0, "flops": 10}), "accuracy")
    assert table["times smaller"].round(2).tolist() == [2.0, 2.5, 4.0]
    assert table["times faster"].tolist() == [1, 1, 2]
    assert table["keeps the budget"].tolist() == ["yes", "no", "yes"]


def test_operating_points_are_the_ratios_of_shrinkbench():
    table = operating_points(FRONT, "accuracy")
    assert table.columns.tolist() == ["method", "ratio 2"]
    assert table.iloc[0].tolist() == ["magnitude", "0.900 (0.880 to 0.920)"]


def test_remarks_are_told_once():
    cells = pd.DataFrame(
        {
            "method": ["tucker", "tucker", "int8"],
            "ratio": [2.0, 2.0, np.nan],
            "bits": [np.nan, np.nan, 8],
            "reason": ["no convolution", "no convolution", ""],
            "left_alone": [None, None, "embedding"],
            "why": [np.nan, np.nan, "expanded"],
        }
    )
    assert remarks_table(cells).to_dict("records") == [
        {"model": "tucker at ratio 2", "what": "not measured", "why": "no convolution"},
        {"model": "int8", "what": "left alone", "why": "embedding"},
        {"model": "int8", "what": "no faster", "why": "expanded"},
    ]
