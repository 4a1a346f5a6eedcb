"""What a person finds in the Prefect UI: runs, tasks, artifacts, the form, and the Retry button."""

import pytest
from headless import needs_chromium
from prefect_ui import plain

pytestmark = needs_chromium

HOWS = ("fine", "slow", "exit-once")
NAME = "trouble · quick · hows=fine,slow,exit-once"
CELL = "generate · trouble · mishap · how=exit-once"
CAUSE = "the worker process ended with exit code 3"
AGAIN = "overparam run "


@pytest.fixture(scope="module")
def failed(served):
    """A run in which one of three cells died."""
    return served.wait(served.start(*HOWS))


@pytest.fixture(scope="module")
def retried(ui, served, failed):
    """The same run after a click on Retry."""
    ui.open(f"/runs/flow-run/{failed.id}", NAME, "Failed")
    ui.click("button", "Retry")
    ui.wait(f"Retry {failed.name}?")
    ui.click(".p-modal button", "Retry")
    return served.wait(failed.id, times=2)


def test_runs_are_listed_with_study_profile_settings_and_tags(ui, failed):
    shown = ui.open("/runs", NAME, "study", "9 Task runs", height=1200)
    ui.shot("runs")
    assert {"Failed", "quick", "toys", "trouble"} <= set(shown.split())
    assert plain(shown)


def test_a_run_shows_its_graph_and_its_tasks_by_name(ui, failed):
    ui.open(f"/runs/flow-run/{failed.id}", NAME, "9 Task runs", height=1500)
    shown = ui.tab("Task Runs", "6 Completed, 1 Failed, 2 Cancelled", "report · trouble")
    ui.shot("run-failed")
    assert ui.driver.execute_script("return document.querySelectorAll('canvas').length") > 0
    for name in (CELL, "train · trouble · strict · how=fine", "evaluate · trouble · survivors"):
        assert name in shown
    assert shown.count("Skipped") == 2 and plain(shown)


def test_the_log_of_a_run_holds_no_warning(ui, failed):
    shown = ui.open(f"/runs/flow-run/{failed.id}", "Beginning flow run", CAUSE)
    ui.shot("run-log")
    assert "WARNING" not in shown and "Traceback" not in shown.partition("Encountered")[0]


def test_a_failed_task_says_where_why_and_what_to_type(ui, served, failed):
    task = served.tasks(failed.id, 9)[CELL]
    shown = ui.open(f"/runs/task-run/{task.id}", CELL, CAUSE, AGAIN)
    ui.shot("task-failed")
    first, second = task.state.message.splitlines()
    assert first == f"{CELL}: {CAUSE}"
    assert AGAIN in second and "--set hows=fine,slow,exit-once" in second
    assert NAME in shown


def test_a_skipped_task_says_what_it_needs(served, failed):
    task = served.tasks(failed.id, 9)["train · trouble · strict · how=exit-once"]
    assert task.state.name == "Skipped" and f"needs {CELL}" in task.state.message


def test_artifacts_have_names_that_say_what_they_are(ui, failed):
    ui.open(f"/runs/flow-run/{failed.id}", NAME, height=1500)
    told = "Verdicts of trouble, profile quick"
    shown = ui.tab("Artifacts", "trouble-report", "trouble-strict-how-fine", told)
    ui.shot("run-artifacts")
    assert plain(shown)
    ui.open("/artifacts", "Search artifacts")
    ui.search("trouble", "trouble-report", "trouble-mishap-how-slow-progress")
    ui.shot("artifacts")


def test_the_report_tells_verdicts_failures_and_the_command(ui, served, failed):
    report = served.artifacts(failed.id)["trouble-report"]
    shown = ui.open(f"/artifacts/artifact/{report.id}", NAME, "Failed", height=1200)
    ui.shot("report-failed")
    for words in (
        "What happens to the others when one cell fails?",
        "Some survive",
        "undecided",
        "Steps: 6 completed, 1 failed, 2 skipped",
        f"{CELL}: {CAUSE}",
        AGAIN,
        str(served.store / "reports" / "trouble"),
    ):
        assert words in shown
    (paper,) = ui.links("On Trouble")
    assert paper == "https://doi.org/10.1000/182"
    assert ui.links(failed.name) == [f"{ui.base}/runs/flow-run/{failed.id}"]
    rows = ui.driver.find_elements("css selector", "table tbody tr")
    assert len(rows) == 1 and plain(shown)


def test_a_step_tells_its_tables(ui, served, failed):
    table = served.artifacts(failed.id)["trouble-strict-how-fine"]
    shown = ui.open(f"/artifacts/artifact/{table.id}", "first rows", "value=2")
    ui.shot("table")
    heads = [e.text for e in ui.driver.find_elements("css selector", "table th")]
    assert heads == ["cell", "table", "rows", "size", "seconds", "first rows", "key"]
    assert "Tables of train · trouble · strict · how=fine, in the store." in shown
    wide = "const t = document.querySelector('.p-table'); return t.scrollWidth - t.clientWidth"
    assert ui.driver.execute_script(wide) <= 0


def test_a_step_that_takes_its_time_shows_progress(ui, served, failed):
    found = served.artifacts(failed.id)
    progress = found["trouble-mishap-how-slow-progress"]
    assert progress.data == 100.0 and "trouble-strict-how-fine-progress" not in found
    ui.open(f"/artifacts/artifact/{progress.id}", "mishap · how=slow slowly", "100")
    ui.shot("progress")


def test_the_form_of_a_deployment_explains_every_field(ui, served):
    place = f"/deployments/deployment/{served.deployment.id}/run"
    shown = ui.open(place, "what each cell does", "device", height=2000)
    ui.shot("form")
    for words in (
        "quick decides in seconds what it can, full is as the paper asks",
        "what each cell does (default fine, good, well)",
        "number of independent repetitions (default 5)",
        "folder in which an attempt leaves its mark",
        "worker processes at once, one torch thread each",
    ):
        assert words in shown
    options = {e.text for e in ui.driver.find_elements("css selector", "select option")}
    assert {"quick", "full"} <= options


def test_retry_runs_what_failed_and_finds_the_rest_cached(ui, served, retried):
    assert retried.state.name == "Completed" and retried.run_count == 2
    states = {name: task.state.name for name, task in served.tasks(retried.id, 9).items()}
    assert {name for name, state in states.items() if state == "Cached"} == {
        *(f"generate · trouble · mishap · how={how}" for how in ("fine", "slow")),
        *(f"train · trouble · strict · how={how}" for how in ("fine", "slow")),
    }
    assert states[CELL] == states["evaluate · trouble · complete"] == "Completed"
    assert [len((served.marks / how).read_text()) for how in HOWS] == [1, 1, 2]
    ui.open(f"/runs/flow-run/{retried.id}", NAME, "18 Task runs", height=1500)
    ui.tab("Task Runs", "Cached")
    ui.shot("run-retried")


def test_artifacts_of_one_key_group_over_time(ui, served, retried):
    report = served.artifacts(retried.id)["trouble-report"]
    shown = ui.open(f"/artifacts/artifact/{report.id}", "reproduced", height=1200)
    ui.shot("report-retried")
    assert "4 cached" in shown and "5 completed" in shown
    ui.open("/artifacts/key/trouble-report", "Created trouble-report", NAME)
    ui.shot("artifact-over-time")
    assert len(ui.links(retried.name)) == 2
