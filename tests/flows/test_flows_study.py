"""The flow ``study`` against a server: states, names, artifacts, failures, and the contract that it
leaves what ``study.run`` leaves."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from flows.history import find_record
from flows.study import StepsFailed, study
from overparam.errors import UnknownStudyError
from overparam.store import Store, equal_tables
from overparam.studies import catalogue, find, load
from overparam.study import ConfigError, make_plan, step_tables

TOYS = Path(__file__).parent.parent / "toys"
COIN = str(TOYS / "coin.py")
TROUBLE = str(TOYS / "trouble.py")

pytestmark = pytest.mark.usefixtures("prefect_api")


def task_runs(flow_run_id):
    """The task runs of a flow run by name, when all of them have reached the server."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    from flows.server import wait_for_records

    assert wait_for_records(flow_run_id, 1)
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [flow_run_id]}))
    return {run.name: run for run in runs}


def artifacts(flow_run_id):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter

    with get_client(sync_client=True) as client:
        chosen = ArtifactFilter(flow_run_id={"any_": [flow_run_id]})
        return {a.key: a for a in client.read_artifacts(artifact_filter=chosen, limit=100)}


class Runs:
    """The same study in this process, with one worker, again, and with two workers and one seed
    more."""

    def __init__(self, folder):
        settings = {"seeds": 3, "coins": ["loaded", "fair"]}
        self.stores = {name: Store.open(folder / name) for name in ("here", "one", "two")}
        self.here = load(COIN).run(self.stores["here"], **settings)
        self.one = study(COIN, "quick", settings, self.stores["one"].address, 1)
        self.again = study(COIN, "quick", settings, self.stores["one"].address, 1)
        self.two = study(COIN, "quick", settings, self.stores["two"].address, 2)


@pytest.fixture(scope="module")
def runs(prefect_api, tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("runs"))


def test_keys_and_tables_are_those_of_a_run_in_this_process(runs):
    expected = [(r.step, dict(r.cell), r.key) for r in runs.here.records]
    for run in (runs.one, runs.two):
        assert [(r.step, dict(r.cell), r.key) for r in run.steps[:-1]] == expected
    plan = runs.here.plan
    for step in plan.study.steps.values():
        mine = runs.here.tables(step.name)
        for name in ("one", "two"):
            assert equal_tables(mine, step_tables(plan, step, runs.stores[name]))
    verdict = runs.here.verdicts[0].to_dict()
    assert runs.one.verdicts == runs.again.verdicts == runs.two.verdicts == [verdict]


def test_states_of_the_records(runs):
    assert {r.state for r in runs.one.steps} == {"completed"}
    assert {r.state for r in runs.again.steps} == {"cached"}
    assert runs.one.steps[-1].step == "report" and Path(runs.one.report).is_file()
    assert runs.one.tasks == 11 and not runs.one.failed


def test_task_runs_have_names_a_person_can_read(runs):
    found = task_runs(runs.one.flow_run_id)
    assert set(found) == {
        "generate · coin · chances",
        "train · coin · flipped · coin=loaded · seed=0,1,2",
        "train · coin · flipped · coin=fair · seed=0,1,2",
        *(
            f"compress · coin · shortened · coin={c} · seed={s}"
            for c in ("loaded", "fair")
            for s in range(3)
        ),
        "evaluate · coin · shares",
        "report · coin",
    }
    assert {run.state.name for run in found.values()} == {"Completed"}


def test_a_rerun_shows_cached_with_the_keys(runs):
    found = task_runs(runs.again.flow_run_id)
    assert {run.state.name for run in found.values()} == {"Cached"}
    assert {run.state.type.value for run in found.values()} == {"COMPLETED"}
    key = runs.again.steps[0].key
    assert key[:8] in found["generate · coin · chances"].state.message


def test_flow_run_name_and_parameters(runs):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        run = client.read_flow_run(runs.two.flow_run_id)
    assert run.name.startswith("coin · quick · seeds=3 · coins=loaded,fair")
    assert run.state.name == "Completed" and set(run.tags) == {"quick", "toys"}
    assert run.parameters["workers"] == 2 and run.parameters["settings"]["seeds"] == 3


def test_artifacts_of_steps_progress_and_report(runs):
    found = artifacts(runs.one.flow_run_id)
    assert {
        "coin-chances",
        "coin-flipped-coin-loaded",
        "coin-flipped-coin-fair",
        "coin-shortened-coin-fair-seed-0",
        "coin-shares",
        "coin-report",
    } <= set(found)
    table = found["coin-flipped-coin-loaded"]
    assert table.type == "table"
    import json

    rows = json.loads(table.data) if isinstance(table.data, str) else table.data
    assert [row["cell"] for row in rows] == [f"coin=loaded · seed={s}" for s in range(3)]
    assert list(rows[0]) == ["cell", "table", "rows", "size", "seconds", "first rows", "key"]
    assert rows[0]["key"] == runs.one.steps[1].key[:8]
    assert rows[0]["rows"] == 50 and "head=True" in rows[0]["first rows"]
    report = found["coin-report"]
    assert report.type == "markdown"
    assert "| A loaded coin shows more heads | ✓ **reproduced** |" in report.data
    assert (
        "1 claim: 1 reproduced" in report.data
        and f"Steps: {len(runs.one.steps)} completed" in report.data
    )
    assert runs.one.report in report.data and "fair<br>" in report.data
    assert "## Failed" not in report.data and "    overparam run " in report.data


def test_json_of_a_run_is_the_contract(runs):
    import json

    row = json.loads(json.dumps(runs.one.to_dict(), allow_nan=False))
    assert set(row) == {
        "study", "profile", "config", "flow_run_id", "steps", "verdicts", "report",
    }  # fmt: skip
    step = row["steps"][1]
    assert {"step", "stage", "cell", "key", "state", "seconds", "rows", "bytes", "path"} <= set(
        step
    )
    assert row["config"]["seeds"] == 3 and row["config"]["coins"] == ["loaded", "fair"]


class Trouble:
    """One run in which cells fail in every way, with two workers."""

    hows = ("fine", "raise", "diverge", "hang", "exit", "segfault", "io", "nonsense", "good")

    def __init__(self, folder):
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.store = Store.open(folder / "store")
        self.settings = {"hows": list(self.hows), "marker": str(self.marks)}
        with pytest.raises(StepsFailed) as caught:
            study(TROUBLE, "quick", self.settings, self.store.address, 2)
        self.error = caught.value
        (self.run,) = caught.value.runs
        self.by_cell = {(r.step, r.cell.get("how")): r for r in self.run.steps}

    def attempts(self, how):
        return len((self.marks / how).read_text())


@pytest.fixture(scope="module")
def trouble(prefect_api, tmp_path_factory):
    return Trouble(tmp_path_factory.mktemp("trouble"))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "ValueError: a value that is not allowed"),
        ("diverge", "Diverged: the loss left the finite numbers at step 3"),
        ("hang", "ran longer than its time-out of 8 s and was ended"),
        ("exit", "the worker process ended with exit code 3"),
        ("segfault", "the worker process ended by signal 11"),
        ("nonsense", "must give a table or a mapping of tables, not int"),
    ],
)
def test_what_goes_wrong_fails_its_cell_alone_and_is_tried_once(trouble, how, words):
    record = trouble.by_cell["mishap", how]
    first, second = record.error.splitlines()
    assert record.state == "failed" and trouble.attempts(how) == 1
    assert first.startswith(f"generate · trouble · mishap · how={how}: ") and words in first
    assert second.startswith("Run again what is missing: overparam run ")
    assert f"--store {trouble.store.address}" in second and "--set hows=fine," in second


def test_the_others_go_on(trouble):
    for how in ("fine", "good", "io"):
        assert trouble.by_cell["mishap", how].state == "completed"
        assert trouble.by_cell["strict", how].state == "completed"


def test_an_io_error_is_tried_again(trouble):
    assert trouble.attempts("io") == 2


def test_who_needs_what_failed_is_skipped(trouble):
    for how in ("raise", "hang", "exit", "segfault"):
        record = trouble.by_cell["strict", how]
        assert record.state == "skipped"
        needed = (
            f"train · trouble · strict · how={how} needs generate · trouble · mishap · how={how}"
        )
        assert record.error.startswith(needed)
    complete = trouble.by_cell["complete", None]
    assert complete.state == "skipped" and " and 3 more" in complete.error


def test_a_reader_that_can_live_with_holes_goes_on(trouble):
    record = trouble.by_cell["survivors", None]
    assert record.state == "completed" and record.rows == 3
    plan = make_plan(load(TROUBLE), "quick", trouble.settings)
    for cell in plan.cells_of(plan.study.steps["mishap"]):
        if cell.values["how"] not in ("fine", "good", "io"):
            plan.lose(cell)
    (survivors,) = plan.cells_of(plan.study.steps["survivors"])
    assert record.key == plan.key(survivors)
    assert set(trouble.store.read(plan.ref(survivors))["survivors"]["how"]) == {
        "fine",
        "good",
        "io",
    }


def test_claims_that_can_be_read_are_judged(trouble):
    (verdict,) = trouble.run.verdicts
    assert verdict["verdict"] == "reproduced" and verdict["n"] == 3
    assert Path(trouble.run.report).is_file()


def test_the_failure_tells_how_many_and_the_first(trouble):
    assert re.match(r"6 of 21 failed; generate · trouble · mishap · how=", str(trouble.error))
    assert len(trouble.run.failed) == 6


def test_states_that_the_server_shows(trouble):
    found = task_runs(trouble.run.flow_run_id)
    failed = found["generate · trouble · mishap · how=exit"].state
    assert failed.type.value == "FAILED" and "Run again what is missing" in failed.message
    skipped = found["train · trouble · strict · how=exit"].state
    assert (
        skipped.name == "Skipped"
        and "needs generate · trouble · mishap · how=exit" in skipped.message
    )
    assert found["evaluate · trouble · survivors"].state.name == "Completed"
    assert found["generate · trouble · mishap · how=io"].run_count == 2
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        assert client.read_flow_run(trouble.run.flow_run_id).state.type.value == "FAILED"


def test_a_step_that_takes_its_time_shows_progress(trouble):
    found = artifacts(trouble.run.flow_run_id)
    progress = found["trouble-mishap-how-hang-progress"]
    assert progress.type == "progress" and progress.data == 100.0
    assert "trouble-strict-how-fine-progress" not in found


def test_the_report_of_a_partly_failed_run_tells_what_there_is(trouble):
    text = artifacts(trouble.run.flow_run_id)["trouble-report"].data
    assert "Steps: " in text and "6 failed" in text and "1 claim: 1 reproduced" in text
    assert "    generate · trouble · mishap · how=exit: the worker process ended" in text
    assert text.count("overparam run ") == 1


def test_the_record_names_the_study_so_that_it_can_be_run_again(runs, store, monkeypatch):
    """By name if the catalogue has it, wherever its module lies; a file by its whole path."""
    assert find_record(runs.stores["one"], runs.one.flow_run_id).name == COIN
    known = replace(find(TROUBLE), module="toys.trouble")
    monkeypatch.setattr(catalogue, "_found", lambda: iter((known,)))
    catalogue.entries.cache_clear()
    try:
        run = study("trouble", "quick", {"hows": ["fine"]}, store.address)
    finally:
        catalogue.entries.cache_clear()
    assert find_record(store, run.flow_run_id).name == "trouble"


def test_what_ran_is_cached_the_next_time(trouble):
    settings = {**trouble.settings, "hows": ["fine", "io", "good"]}
    again = study(TROUBLE, "quick", settings, trouble.store.address, 1)
    states = {(r.step, r.cell.get("how")): r.state for r in again.steps}
    assert states["mishap", "fine"] == states["strict", "good"] == "cached"
    assert states["survivors", None] == "cached"  # it saw the same cells
    assert states["complete", None] == "completed"
    assert trouble.attempts("fine") == 1


@pytest.mark.parametrize(
    ("name", "settings", "error"),
    [
        ("no-such-study", {}, UnknownStudyError),
        (COIN, {"flips": 0}, ConfigError),
        (COIN, {"flps": 1}, ConfigError),
        (COIN, {"coins": []}, ConfigError),
    ],
)
def test_bad_parameters_run_nothing(tmp_path, name, settings, error):
    with pytest.raises(error):
        study(name, "quick", settings, str(tmp_path / "store"))
    assert not (tmp_path / "store" / "artifacts").exists()


def test_a_damaged_input_is_made_again_by_a_worker(runs):
    record = next(r for r in runs.two.steps if r.step == "flipped")
    (table,) = Path(record.path).glob("*.parquet")
    table.write_bytes(table.read_bytes()[:-9] + b"123456789")
    settings = {"seeds": 3, "coins": ["loaded", "fair"], "keep": 11}
    with pytest.warns(UserWarning, match="set aside under .*computed again") as caught:
        again = study(COIN, "quick", settings, runs.stores["two"].address, 1)
    assert len([w for w in caught if "set aside" in str(w.message)]) == 1
    assert not again.failed and {r.state for r in again.steps if r.step == "shortened"} == {
        "completed"
    }
    plan = runs.here.plan
    step = plan.study.steps["flipped"]
    assert equal_tables(runs.here.tables("flipped"), step_tables(plan, step, runs.stores["two"]))
