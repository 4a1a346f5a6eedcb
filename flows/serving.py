"""Serve all deployments from one process: schedules active, runs started from the UI."""

import signal
import sys
from types import FrameType
from typing import NoReturn

from prefect import serve
from prefect.client.orchestration import get_client

from flows.deployments import deployments
from flows.server import api_for_run
from overparam.store import Store
from tasks.stages import STEP_LIMIT


def serve_deployments(
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
        store: address of the store of all runs; checked before anything is registered.
        workers: worker processes of a run.
        limit: flow runs at once.
        overlap: runs of one deployment at once.
        steps: heavy steps at once, of all runs that report to the server; None leaves its limit.
        nightly: cron of the quick profiles, empty for none.
        weekly: cron of the full profiles, empty for none.

    Raises:
        StoreError, ServerError: nothing is served.
    """
    opened = Store.open(store)
    opened.check_writable()
    with api_for_run(ephemeral=False, keep_heartbeats=True) as api:
        assert api is not None
        if steps is not None:
            set_step_limit(steps)
        made = deployments(
            store=opened.address,
            workers=workers,
            overlap=overlap,
            nightly=nightly,
            weekly=weekly,
        )
        print(f"Serving {len(made)} deployments at {api.ui}; stop with Ctrl-C", file=sys.stderr)
        signal.signal(signal.SIGTERM, _stop)
        serve(*made, limit=limit, print_starting_message=False)


def set_step_limit(steps: int) -> None:
    """Set the server's global limit on steps at once, over all runs."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(STEP_LIMIT, steps)


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
