"""The Prefect API that runs report to: the configured one, or one local server, kept running."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from overparam.errors import BadInput

HOST = "127.0.0.1"
START_SECONDS = 120
PAGE = 200
"""Task runs that the API gives at once."""


class ServerError(BadInput):
    """The API can't be reached, or the local server did not start."""


@dataclass(frozen=True)
class Api:
    """An API address and how it came about: ``configured``, ``running`` or ``started``."""

    url: str
    origin: str

    @property
    def ui(self) -> str:
        """The address of the UI."""
        return self.url.removesuffix("/").removesuffix("/api")


def local_port() -> int:
    """The port of the local server: Prefect's own setting, 4200 by default."""
    return int(os.environ.get("PREFECT_SERVER_API_PORT", "4200"))


def local_url() -> str:
    """The address of the local server's API."""
    return f"http://{HOST}:{local_port()}/api"


def healthy(url: str, timeout: float = 2.0) -> bool:
    """Whether a Prefect API answers there."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout) as answer:
            return json.load(answer) is True
    except (urllib.error.URLError, OSError, ValueError):
        return False


def ensure_api() -> Api:
    """The configured API, else the local server, started if it does not run.

    Raises:
        ServerError: the configured API does not answer, or the local server does not start.
    """
    from prefect.settings import PREFECT_API_URL

    configured = PREFECT_API_URL.value()
    if configured:
        return Api(configured, "configured")
    if healthy(local_url()):
        return Api(local_url(), "running")
    start_server()
    return Api(local_url(), "started")


def start_server() -> None:
    """Start the local server in the background and wait until it answers.

    Its output goes to a log file of its own: a server that holds this command's standard output
    would die with a pipe that is closed early.

    Raises:
        ServerError: it did not start; the message names the log file.
    """
    log = _home() / "overparam-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server"]
    environment = {**os.environ, "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with log.open("wb") as output:
        if not healthy(local_url()):
            # A pid file left by a server that died would make `start` refuse.
            subprocess.run(
                [*command, "stop"], stdout=output, stderr=output, env=environment, check=False
            )
        started = subprocess.run(
            [*command, "start", "--background", "--host", HOST, "--port", str(local_port())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            check=False,
        )
    if started.returncode == 0:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if healthy(local_url()):
                return
            time.sleep(0.2)
    raise ServerError(
        f"the local Prefect server did not start on {HOST}:{local_port()}; its output is in {log}. "
        "Another program may hold the port (set PREFECT_SERVER_API_PORT), or run with --ephemeral"
    )


def stop_server() -> bool:
    """Stop the local server; whether there was one."""
    if not healthy(local_url()):
        return False
    subprocess.run([sys.executable, "-m", "prefect", "server", "stop"], check=False)
    return True


@contextmanager
def api_for_run(*, ephemeral: bool, keep_heartbeats: bool = False) -> Iterator[Api | None]:
    """Settings for a run from the command line.

    Heartbeats, which tell a server that a run of *its own* is alive, cost a second per flow.

    Args:
        ephemeral: use a server that lives as long as this command.
        keep_heartbeats: for served runs.

    Raises:
        ServerError: the configured API does not answer.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
        PREFECT_SERVER_ANALYTICS_ENABLED,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        temporary_settings,
    )

    updates: dict[Any, Any] = {PREFECT_SERVER_ANALYTICS_ENABLED: False}
    if not keep_heartbeats:
        updates[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
    if ephemeral:
        updates[PREFECT_SERVER_ALLOW_EPHEMERAL_MODE] = True
        updates[PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS] = START_SECONDS
        with temporary_settings(updates, restore_defaults={PREFECT_API_URL}):
            yield None
        return
    api = ensure_api()
    if not healthy(api.url):
        raise ServerError(
            f"the Prefect API at {api.url} does not answer; check PREFECT_API_URL, or unset it to "
            "use a local server, or run with --ephemeral"
        )
    with temporary_settings({**updates, PREFECT_API_URL: api.url}):
        yield api


def wait_for_records(flow_run_id: str, expected: int, seconds: float = 20) -> bool:
    """Wait until a flow run's task runs are on record; an ephemeral server loses them at exit.

    Returns:
        Whether all of them arrived in time.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(flow_run_id)]))
    deadline = time.monotonic() + seconds
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            final = 0
            for offset in range(0, expected, PAGE):
                runs = client.read_task_runs(flow_run_filter=chosen, limit=PAGE, offset=offset)
                final += sum(run.state is not None and run.state.is_final() for run in runs)
            if final >= expected:
                return True
            time.sleep(0.1)
    return False


def _home() -> Path:
    return Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
