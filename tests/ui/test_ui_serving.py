"""One process of ``overparam serve`` for each test: overlap, and stopping.

Apart from the tests that share a process: it would take the runs of the same deployment.
"""

import time

import pytest
from prefect_ui import FINAL, SECONDS, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_deployment_never_overlaps_itself(prefect_api, tmp_path):
    with serving(tmp_path, "--limit", "2") as served:
        first = served.start("hang", "fine")
        served.wait(first, states=("RUNNING",))
        second = served.start("good")
        seen = set()
        while (run := served.client.read_flow_run(first)).state.type.value not in FINAL:
            seen.add(served.client.read_flow_run(second).state.name)
            time.sleep(0.3)
        assert "ran longer than its time-out" in run.state.message
        assert seen <= {"Scheduled", "Pending", "Late", "AwaitingConcurrencySlot"}
        assert "AwaitingConcurrencySlot" in seen
        assert served.wait(second).state.name == "Completed"


def test_sigterm_cancels_what_runs_and_says_what_is_kept(prefect_api, tmp_path):
    with serving(tmp_path) as served:
        run = served.start("fine", "hang", workers=2)
        deadline = time.monotonic() + SECONDS
        finished = served.store / "artifacts" / "trouble" / "mishap"
        while time.monotonic() < deadline:
            if (served.marks / "hang").exists() and list(finished.glob("*/manifest.json")):
                break
            time.sleep(0.1)
        status, said = served.stop()
        assert status == 0 and "Serving 3 deployments" in said
        assert "runs that were going are cancelled, what they finished is stored" in said
        assert served.wait(run, states=FINAL).state.name == "Cancelled"
        assert served.client.read_deployment(served.deployment.id).paused
        assert len(list(finished.glob("*/manifest.json"))) == 1
