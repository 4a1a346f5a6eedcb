"""Many studies in one flow: one that fails does not stop the others, unless it is asked to."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli import main
from flows.reproduce import chosen, reproduce
from flows.study import StepsFailed
from overparam.errors import BadInput, UnknownStudyError
from overparam.studies import catalogue, entries, find

TOYS = Path(__file__).parent.parent / "toys"


@pytest.fixture
def toys(monkeypatch):
    """The catalogue holds toys alone: one that fails, one that runs, one whose extra is missing."""

    def toy(name, **changes):
        entry = find(str(TOYS / f"{name}.py"))
        return replace(entry, **{"paper": {"title": name, "year": 1}, **changes})

    found = (toy("cells"), toy("trouble"), toy("toy_base"), toy("extra"))
    monkeypatch.setattr(catalogue, "_found", lambda: iter(found))
    catalogue.entries.cache_clear()
    yield found
    catalogue.entries.cache_clear()


def test_chosen_studies(toys):
    assert chosen([], None) == ["toy-base", "cells", "needs-extra", "trouble"]  # by theme and name
    assert chosen([], "toys") == ["cells", "needs-extra", "trouble"]
    assert chosen(["trouble"], None) == ["trouble"]
    with pytest.raises(BadInput, match="'nothing'; themes: bases, toys"):
        chosen([], "nothing")
    with pytest.raises(UnknownStudyError, match="did you mean trouble"):
        chosen(["troubel"], None)


def test_a_base_is_not_among_all(toys, monkeypatch):
    without = replace(toys[2], paper={})
    monkeypatch.setattr(catalogue, "_found", lambda: iter((toys[0], without)))
    catalogue.entries.cache_clear()
    assert chosen([], None) == ["cells"] and len(entries()) == 2


def test_a_study_file_can_be_chosen():
    file = str(TOYS / "coin.py")
    assert chosen([file], None) == [file]


@pytest.mark.usefixtures("prefect_api")
def test_the_others_go_on(tmp_path):
    """Of two files the first one fails; workers load the files for themselves."""
    bad = tmp_path / "bad.py"
    text = (TOYS / "trouble.py").read_text().replace('"quick": {}', '"quick": {"hows": ("raise",)}')
    bad.write_text(text)
    files = [str(bad), str(TOYS / "toy_base.py")]
    store = tmp_path / "store"
    with pytest.raises(StepsFailed) as caught:
        reproduce(files, None, "quick", str(store), 1)
    first, second = caught.value.runs
    assert [len(run.failed) > 0 for run in (first, second)] == [True, False]
    with pytest.raises(StepsFailed) as caught:
        reproduce(files, None, "quick", str(store), 1, fail_fast=True)
    assert [run.study for run in caught.value.runs] == ["trouble"]


@pytest.fixture
def odd(tmp_path):
    """Files: one does not import, one is no Python, one lacks its extra, one is good."""
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name\n" + (TOYS / "coin.py").read_text())
    garbled = tmp_path / "garbled.py"
    garbled.write_text("study = Study(")
    return [str(broken), str(garbled), str(TOYS / "extra.py"), str(TOYS / "toy_base.py")]


def test_a_study_that_does_not_import_does_not_stop_the_others(tmp_path, prefect_api, odd):
    with pytest.raises(StepsFailed) as caught:
        reproduce(odd, None, "quick", str(tmp_path / "store"), 1)
    broken, garbled, extra, good = caught.value.runs
    (record,) = broken.failed
    assert "ModuleNotFoundError: No module named 'nothing_of_that_name'" in record.error
    assert record.error.startswith(odd[0])
    assert "DeclarationError" in garbled.failed[0].error
    (record,) = extra.steps
    assert record.state == "skipped" and not extra.failed
    assert record.error.endswith("needs an extra: pip install 'overparam[no-such-extra]'")
    assert good.study == "toy-base" and not good.failed and len(good.steps) == 6
    with pytest.raises(StepsFailed) as caught:
        reproduce(odd, None, "quick", str(tmp_path / "store"), 1, fail_fast=True)
    assert len(caught.value.runs) == 1


def test_the_ui_shows_what_became_of_each_study(tmp_path, prefect_api, odd):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter

    assert [run.study for run in reproduce(odd[2:], None, "quick", str(tmp_path / "s"), 1)] == [
        "extra",
        "toy-base",
    ]
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key={"any_": ["reproduce-quick"]})
        found = client.read_artifacts(artifact_filter=wanted, limit=200)
        newest = max(found, key=lambda artifact: artifact.created)
        run = client.read_flow_run(newest.flow_run_id)
    first, second = json.loads(newest.data)
    assert first["steps"] == "1 skipped" and "pip install" in first["why"]
    assert second["steps"] == "6 completed" and second["why"] == ""
    assert run.name.endswith(" · quick") and run.state.name == "Completed"


def test_the_command_line_tells_what_was_skipped_and_what_did_not_import(
    tmp_path, prefect_api, odd, monkeypatch, capfd
):
    words = ["reproduce", *odd, "--store", str(tmp_path / "s"), "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["overparam", *words])
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        main()
    told = capfd.readouterr().out
    assert caught.value.code == 1
    assert "skipped " in told and "pip install 'overparam[no-such-extra]'" in told
    assert "No module named 'nothing_of_that_name'" in told
    assert "4 studies; failed: broken, garbled; skipped: extra" in told


def test_the_command_line_tells_all_runs_and_exits_1(tmp_path, prefect_api, monkeypatch, capfd):
    bad = tmp_path / "bad.py"
    text = (TOYS / "trouble.py").read_text().replace('"quick": {}', '"quick": {"hows": ("raise",)}')
    bad.write_text(text)
    words = ["reproduce", str(bad), str(TOYS / "toy_base.py"), "--store", str(tmp_path / "s")]
    monkeypatch.setattr(sys, "argv", ["overparam", *words, "--workers", "1", "--json"])
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        main()
    runs = json.loads(capfd.readouterr().out)["runs"]
    assert caught.value.code == 1
    assert [run["study"] for run in runs] == ["trouble", "toy-base"]
    assert {step["state"] for step in runs[1]["steps"]} == {"completed"}
    assert "failed" in {step["state"] for step in runs[0]["steps"]}
