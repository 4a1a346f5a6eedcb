"""The Prefect tasks of overparam: five stages, the store as their cache, and what the UI shows."""

from tasks.pool import Run, Workers, workers
from tasks.stages import TASKS, Context, compress, evaluate, generate, report, rerun_command, train

__all__ = [
    "TASKS",
    "Context",
    "Run",
    "Workers",
    "compress",
    "evaluate",
    "generate",
    "report",
    "rerun_command",
    "train",
    "workers",
]
