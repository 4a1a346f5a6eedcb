"""The Prefect server is stopped in mid-run and comes back, or does not: no result is lost."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from reliability.campaign import COMMAND, ROOT, Reference, Run, Tally, started, wait_until

DOWN_SECONDS = 20


class OwnServer:
    """A local server of this test's own, started and stopped by the command line."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.environment = {
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_API_URL": "",
        }

    def tell(self, word: str) -> None:
        subprocess.run(
            [*COMMAND, "server", word],
            env={**os.environ, **self.environment},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path / "prefect")
    made.tell("start")
    try:
        yield made
    finally:
        made.tell("stop")


@pytest.fixture
def held(prefect_api: str, tmp_path: Path) -> Reference:
    """The undisturbed run of the study that ``hold`` would hold."""
    return Reference.make(tmp_path / "undisturbed", "--set", f"hold={tmp_path / 'hold'}")


def stop_server(server: OwnServer, run: Run, hold: Path) -> None:
    """Stop the server while a step is at work."""
    reached = hold.with_suffix(".reached")
    wait_until(lambda: reached.exists() or run.process.poll() is not None, "the hold")
    assert run.process.poll() is None, run.err
    server.tell("stop")
    hold.unlink()


@pytest.mark.slow
def test_a_server_that_is_away_for_a_while(
    held: Reference, server: OwnServer, tmp_path: Path
) -> None:
    place, hold = tmp_path / "store", tmp_path / "hold"
    hold.touch()
    words = held.words(place)
    with started(tmp_path / "run", *words, environment=server.environment) as run:
        stop_server(server, run, hold)
        time.sleep(DOWN_SECONDS)
        server.tell("start")
        status = run.ended()
    assert status == 0, run.err
    (row,) = run.runs
    held.assert_same(held.store.open(place), row)


@pytest.mark.slow
def test_a_server_that_does_not_come_back(
    held: Reference, server: OwnServer, tmp_path: Path
) -> None:
    """What the steps made is stored, and a run that reports elsewhere goes on from there."""
    place, hold = tmp_path / "store", tmp_path / "hold"
    hold.touch()
    words = held.words(place)
    # Prefect's client tries each request for minutes before it gives up
    environment = server.environment | {"PREFECT_CLIENT_MAX_RETRIES": "1"}
    with started(tmp_path / "run", *words, environment=environment) as run:
        stop_server(server, run, hold)
        status = run.ended()
    assert status != 0 and "Traceback" not in run.err
    assert not (place / "failures").exists()
    tally = Tally()
    held.assert_mends(place, tmp_path / "again", tally)
    assert tally.kept >= 2
