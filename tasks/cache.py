"""Cached state without Prefect's result storage.

Prefect's own result records name their serializer, and a planted one is unpickled on a cache hit.
Here the store alone says whether a unit has run; the task then returns a completed state named
``Cached``, which the UI, served runs and retries show.
"""

from prefect.client.schemas import State
from prefect.states import Completed

from overparam.study import StepRecord


def cached_state(records: list[StepRecord]) -> State[list[StepRecord]]:
    """The state of a unit whose cells all lie in the store."""
    keys = ", ".join(record.key[:8] for record in records[:8])
    more = f" and {len(records) - 8} more" if len(records) > 8 else ""
    return Completed(name="Cached", message=f"in the store under {keys}{more}", data=records)
