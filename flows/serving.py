"""Serve all deployments from one process: schedules active, runs started from the UI."""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from prefect import serve
from prefect.client.orchestration import get_client

from flows.deployments import deployments
from flows.server import api_for_run
from overparam.store import Store
from overparam.studies import load
from tasks.stages import STEP_LIMIT


def serve_deployments(
    studies: Sequence[str],
    *,
    store: str | None,
    workers: int,
    limit: int,
    overlap: int,
    steps: int | None,
    nightly: str,
    weekly: str,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        studies: names or files of the studies that get a form of their own; none means all.
        store: address of the store of all runs; checked before anything is registered.
        workers: worker processes of a run.
        limit: flow runs at once.
        overlap: runs of one deployment at once.
        steps: heavy steps at once, of all runs that report to the server; None leaves its limit.
        nightly: cron of the quick profiles, empty for none.
        weekly: cron of the full profiles, empty for none.

    Raises:
        UnknownStudyError, StoreError, ServerError: nothing is served.
    """
    for name in studies:
        load(name)
    opened = Store.open(store)
    opened.check_writable()
    with api_for_run(ephemeral=False, keep_heartbeats=True) as api:
        assert api is not None
        if steps is not None:
            set_step_limit(steps)
        made = deployments(
            studies,
            store=opened.address,
            workers=workers,
            overlap=overlap,
            nightly=nightly,
            weekly=weekly,
        )
        _say(f"Serving {len(made)} deployments at {api.ui}; stop with Ctrl-C or SIGTERM")
        signal.signal(signal.SIGTERM, _stop)  # until the runner that serves handles it itself
        serve(*made, limit=limit, print_starting_message=False)
        _say(
            "Stopped: runs that were going are cancelled, what they finished is stored (Retry, or "
            "overparam rerun, goes on from there), and schedules pause until you serve again"
        )


def set_step_limit(steps: int) -> None:
    """Set the server's global limit on steps at once, over all runs."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(STEP_LIMIT, steps)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
