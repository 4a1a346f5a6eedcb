"""Operating for real: retry and rerun from the command line, work pools, notifications."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prefect_ui import OVERPARAM, ROOT, SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def prefect(*words, **environment):
    """The ``prefect`` command line, as a person types it."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_flow_run_retry_of_a_served_run(served):
    (served.marks / "exit-once").unlink(missing_ok=True)
    run = served.wait(served.start("good", "exit-once"))
    assert run.state.name == "Failed"
    assert "scheduled for retry" in " ".join(prefect("flow-run", "retry", str(run.id)).split())
    assert served.wait(run.id, times=2).state.name == "Completed"
    states = {name: task.state.name for name, task in served.tasks(run.id, 7).items()}
    assert states["generate · trouble · mishap · how=good"] == "Cached"
    assert states["generate · trouble · mishap · how=exit-once"] == "Completed"


def test_rerun_by_the_id_alone_from_another_process(served):
    run = served.wait(served.start("fine", "raise"))
    done = subprocess.run(
        [*OVERPARAM, "rerun", str(run.id), "--store", str(served.store), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    (again,) = json.loads(done.stdout)["runs"]
    found = {(s["step"], s["cell"].get("how")): s for s in again["steps"]}
    assert done.returncode == 1 and found["mishap", "fine"]["state"] == "cached"
    failed = found["mishap", "raise"]
    assert failed["state"] == "failed" and "Not tried again" in failed["error"]
    assert len((served.marks / "raise").read_text()) == 1


def test_the_documented_automations_tell_of_failures_and_changed_verdicts(served, tmp_path):
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    heard = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    block = CustomWebhookNotificationBlock(
        name="overparam",
        url=f"http://127.0.0.1:{server.server_port}/",
        json_data={"text": "{{subject}} | {{body}}"},
        allow_private_urls=True,
    )
    text = (ROOT / "docs" / "operations.md").read_text()
    (recipe,) = re.findall(r"```yaml\n(automations:.*?)```", text, flags=re.S)
    file = tmp_path / "automations.yaml"
    file.write_text(recipe.replace("00000000-0000-0000-0000-000000000000", str(block.save("hook"))))
    prefect("automation", "create", "--from-file", str(file))
    (served.marks / "exit-once").unlink(missing_ok=True)
    run = served.wait(served.start("well", "good", "exit-once", fresh=True))
    assert run.state.name == "Failed"
    prefect("flow-run", "retry", str(run.id))
    assert served.wait(run.id, times=2).state.name == "Completed"
    record = served.store / "runs" / f"{run.id}.json"
    before = json.loads(record.read_text())
    before["run"]["verdicts"][0]["verdict"] = "contradicted"
    record.write_text(json.dumps(before))
    served.wait(served.start("well", "good", "exit-once"))
    deadline = time.monotonic() + SECONDS
    while len(heard) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    server.shutdown()
    failed, changed = sorted(heard, key=lambda words: "verdict" in words)
    assert "the worker process ended with exit code 3" in failed
    assert f"overparam rerun {run.id}" in failed
    told = "overparam: a verdict of trouble changed | Some survive: contradicted → reproduced"
    assert changed == told


def test_deployments_of_the_checkout_run_on_a_work_pool(served, tmp_path):
    prefect("work-pool", "create", "overparam", "--type", "process")
    assert prefect("deploy", "--all").count("successfully created") == 4
    worker = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "overparam"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        deployment = served.client.read_deployment_by_name("study/on-demand")
        toy = str(ROOT / "tests" / "toys" / "coin.py")
        parameters = {"study": toy, "store": str(tmp_path / "s"), "settings": {"seeds": 2}}
        run = served.client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        assert served.wait(run.id).state.name == "Completed"
    finally:
        worker.terminate()
        worker.wait(SECONDS)
