"""Named moments of a write at which a process can be made to die.

The promise "a whole artifact or none, whenever the writer is killed" is only worth something when
it is tried in the code that ships. The reliability campaign starts a writer with
`OVERPARAM_KILL_AT=half:2`; the process then sends itself SIGKILL (no handlers, no buffers flushed,
no clean-up) when it comes to the point `half` for the second time. Without that variable a point
costs one look into the environment.
"""

import os
import signal
from collections import Counter

POINTS = (
    "open",
    "half",
    "table-before-fsync",
    "table-after-fsync",
    "manifest-before",
    "manifest-after",
)

_reached: Counter[str] = Counter()


def reached(point: str) -> None:
    """Kill this process if `OVERPARAM_KILL_AT=point[:n]` says so for this, the n-th, arrival."""
    wanted = os.environ.get("OVERPARAM_KILL_AT")
    if wanted is None:
        return
    name, _, turn = wanted.partition(":")
    if name == point:
        _reached[point] += 1
        if _reached[point] == int(turn or 1):
            os.kill(os.getpid(), signal.SIGKILL)
