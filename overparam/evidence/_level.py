"""The confidence level in force: .95, or what the study's number of claims asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LEVEL: ContextVar[float] = ContextVar("confidence_level", default=0.95)


def checked_level(level: float | None) -> float:
    """The level itself, or the current one for ``None``; ValueError unless 0 < level < 1."""
    if level is None:
        return _LEVEL.get()
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level!r}")
    return float(level)


def current_level() -> float:
    """Two-sided confidence level that constructors use when they are given none (default .95)."""
    return _LEVEL.get()


@contextmanager
def confidence_level(level: float) -> Iterator[None]:
    """Every interval built inside the block has this confidence level.

    A study of m claims judges each at ``1 - .05 / m`` (Bonferroni), so that the chance of one or
    more false verdicts in the whole study stays at most .05. Blocks nest, and threads and tasks
    do not disturb each other.

    Raises:
        ValueError: unless ``0 < level < 1``.

    >>> with confidence_level(1 - 0.05 / 4):
    ...     current_level()
    0.9875
    """
    token = _LEVEL.set(checked_level(level))
    try:
        yield
    finally:
        _LEVEL.reset(token)
