"""The Prefect UI as a person uses it, and ``overparam serve`` with a toy study behind it."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCREENSHOTS = ROOT / "build" / "screenshots"
TROUBLE = ROOT / "tests" / "toys" / "trouble.py"
SECONDS = 120
OVERPARAM = (sys.executable, "-c", "from flows.cli import main; main()")
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Ui:
    """The UI of the session's server: what a person sees there, and what they click."""

    def __init__(self, driver, base) -> None:
        self.driver, self.base = driver, base

    def open(self, path, *expected, height=1000):
        """Show a page and wait until it says all that is expected."""
        self.driver.set_window_size(1280, height)
        self.driver.get(self.base + path)
        return self.wait(*expected)

    def wait(self, *expected):
        """Wait until the page says all of this; returns all that it says."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            text = self.text
            missing = [words for words in expected if words not in text]
            if not missing:
                return text
            time.sleep(0.1)
        self.shot("not-found")
        raise AssertionError(f"{self.driver.current_url} does not say {missing} but:\n{text}")

    @property
    def text(self):
        return self.driver.execute_script("return document.body.innerText")

    def click(self, selector, text):
        """Click the last shown element of this text (a dialogue lies over its page)."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            shown = self.driver.find_elements("css selector", selector)
            found = [element for element in shown if element.text.strip() == text]
            if found:
                found[-1].click()
                return
            time.sleep(0.1)
        raise AssertionError(f"nothing to click that says {text!r}")

    def search(self, text, *expected):
        """Type into the page's search field: a long list shows its first entries alone."""
        for field in self.driver.find_elements("css selector", "input"):
            if field.is_displayed():
                field.send_keys(text)
                return self.wait(*expected)
        raise AssertionError(f"{self.driver.current_url} has no field to search in")

    def tab(self, name, *expected):
        self.click(".p-tab", name)
        return self.wait(*expected)

    def links(self, text):
        """The targets of the links of this text."""
        return [
            link.get_attribute("href")
            for link in self.driver.find_elements("css selector", "a")
            if link.text.strip() == text
        ]

    def shot(self, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


class Served:
    """A deployment that a process of ``overparam serve`` runs."""

    def __init__(self, name, store, marks, process, log) -> None:
        from prefect.client.orchestration import get_client

        self.client = get_client(sync_client=True)
        self.store, self.marks, self.process, self.log = store, marks, process, log
        self.deployment = self._deployment(f"study/{name}")

    def _deployment(self, name):
        from prefect.exceptions import ObjectNotFound

        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(ObjectNotFound):
                found = self.client.read_deployment_by_name(name)
                if found.parameters["store"] == str(self.store):  # not of a process before
                    return found
            time.sleep(0.2)
        raise AssertionError(f"{name} is not served: {self.log.read_text()}")

    def start(self, *hows, **parameters):
        """Start a run; returns its id."""
        settings = {"hows": list(hows), "marker": str(self.marks)}
        run = self.client.create_flow_run_from_deployment(
            self.deployment.id, parameters={"settings": settings, **parameters}
        )
        return run.id

    def wait(self, run_id, times=1, states=FINAL):
        """The run, when it has ended that often (or is in one of the states)."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            run = self.client.read_flow_run(run_id)
            if run.state.type.value in states and run.run_count >= times:
                return run
            time.sleep(0.2)
        raise AssertionError(f"{run.name} is {run.state}; {self.log.read_text()}")

    def tasks(self, run_id, count):
        """The names and states of the task runs of the latest attempt, when they are known."""
        from prefect.client.schemas.filters import FlowRunFilter

        chosen = FlowRunFilter(id={"any_": [run_id]})
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            runs = self.client.read_task_runs(flow_run_filter=chosen)
            latest = max((run.flow_run_run_count for run in runs), default=0)
            found = {r.name: r for r in runs if r.flow_run_run_count == latest and r.state}
            if len(found) == count and all(r.state.type.value in FINAL for r in found.values()):
                return found
            time.sleep(0.2)
        raise AssertionError(f"{len(found)} of {count} task runs known")

    def artifacts(self, run_id):
        """The artifacts of a run by key, the newest of each."""
        from prefect.client.schemas.filters import ArtifactFilter

        chosen = ArtifactFilter(flow_run_id={"any_": [run_id]})
        found = self.client.read_artifacts(artifact_filter=chosen, limit=100)
        return {a.key: a for a in sorted(found, key=lambda a: a.created)}

    def stop(self):
        """SIGTERM, as a service manager does; returns the exit status and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS), self.log.read_text()


@contextmanager
def serving(folder, *options):
    """``overparam serve`` of the toy ``trouble``, with a store and a folder of marks."""
    marks, log = folder / "marks", folder / "serve.log"
    marks.mkdir(parents=True)
    words = ["serve", str(TROUBLE), "--store", str(folder / "store"), "--workers", "1"]
    words += ["--nightly", "", "--weekly", "", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*OVERPARAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    served = None
    try:
        served = Served("trouble", folder / "store", marks, process, log)
        yield served
    finally:
        if served is not None:
            served.stop()
        elif process.poll() is None:
            process.kill()


def plain(text):
    """Whether a person can read it: no JSON, no Python representation."""
    return not re.search(r"\{['\"]|\[['\"]|\\n|<[a-z_.]+ object", text)
