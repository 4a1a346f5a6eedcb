"""What all tests share: a quiet environment of their own, a store, one Prefect server.

Nothing that a test runs reads or writes the user's Prefect profile, the checkout's ``data/`` or a
server that runs on this machine. The server is started when the first test asks for it, serves all
workers of pytest-xdist, and ends with the session.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from study_budget import StudyBudget

from overparam.store import Store

HOME = "OVERPARAM_TEST_HOME"
"""The environment variable that tells workers of pytest-xdist the session's folder."""

SERVER_START_SECONDS = 240
PREFECT_SERVER = (sys.executable, "-m", "prefect", "server")
BENCHMARKS = Path(__file__).parent / "benchmarks"

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the tests marked slow too")
    parser.addoption("--bench", action="store_true", help="run tests/benchmarks too")


def pytest_configure(config: pytest.Config) -> None:
    """Give the session an environment of its own, before anything imports Prefect."""
    config.pluginmanager.register(StudyBudget(), "study-budget")
    if hasattr(config, "workerinput"):
        return
    home = Path(tempfile.mkdtemp(prefix="overparam-tests-"))
    os.environ.update(
        {
            HOME: str(home),
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_SERVER_API_PORT": str(_free_port()),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "DO_NOT_TRACK": "1",
            "OVERPARAM_STORE": str(home / "store"),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
    )
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "FORCE_COLOR"):
        os.environ.pop(name, None)


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or HOME not in os.environ:
        return
    home = Path(os.environ.pop(HOME))
    server = home / "server.json"
    if server.exists():
        _end(json.loads(server.read_text())["pid"])
    shutil.rmtree(home, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("markexpr", "")
    bench = config.getoption("--bench") or config.getoption("benchmark_only", False)
    for item in items:
        if "slow" in item.keywords and not config.getoption("--runslow"):
            item.add_marker(pytest.mark.skip(reason="slow; --runslow runs it"))
        if BENCHMARKS in item.path.parents and not bench and "benchmark" not in chosen:
            item.add_marker(pytest.mark.skip(reason="a benchmark; --bench runs it"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store of this test's own."""
    return Store.open(tmp_path / "store")


@pytest.fixture(scope="session")
def prefect_url() -> str:
    """The API address of the session's server, which the first test that asks starts."""
    home = Path(os.environ[HOME])
    with (home / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = home / "server.json"
        if not file.exists():
            file.write_text(json.dumps(_start_server(home)))
    return str(json.loads(file.read_text())["url"])


@pytest.fixture(scope="session")
def prefect_api(prefect_url: str) -> Iterator[str]:
    """The session's server, in force for flows of this process and for commands that it starts."""
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    os.environ["PREFECT_API_URL"] = prefect_url
    try:
        with temporary_settings(
            {PREFECT_API_URL: prefect_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        ):
            yield prefect_url
    finally:
        del os.environ["PREFECT_API_URL"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_server(home: Path) -> dict[str, str | int]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*PREFECT_SERVER, "start", "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PREFECT_UI_API_URL": url},
        )
    deadline = time.monotonic() + SERVER_START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                if json.load(answer) is True:
                    return {"url": url, "pid": process.pid}
        except (urllib.error.URLError, OSError, ValueError):
            time.sleep(0.2)
    _end(process.pid)
    raise RuntimeError(f"no Prefect server: {(home / 'server.log').read_text()[-2000:]}")


def _end(pid: int) -> None:
    """End a server that this session started, with the processes of its session."""
    try:
        os.killpg(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    for _ in range(100):
        time.sleep(0.1)
        with contextlib.suppress(ChildProcessError):  # a worker's child, which init reaps
            os.waitpid(pid, os.WNOHANG)
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return
    os.killpg(pid, signal.SIGKILL)
