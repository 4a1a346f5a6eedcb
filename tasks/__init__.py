"""The Prefect tasks of overparam: five stages, the store as their cache, and what the UI shows."""

from tasks.pool import Run, Workers, workers
from tasks.stages import (
    TASKS,
    Context,
    as_setting,
    compress,
    evaluate,
    generate,
    report,
    rerun_command,
    steps_are_limited,
    train,
)

__all__ = [
    "TASKS",
    "Context",
    "Run",
    "Workers",
    "as_setting",
    "compress",
    "evaluate",
    "generate",
    "report",
    "rerun_command",
    "steps_are_limited",
    "train",
    "workers",
]
