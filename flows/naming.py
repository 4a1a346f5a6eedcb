"""What runs are called in the UI."""

from collections.abc import Iterable
from textwrap import shorten

CHARACTERS = 80
"""Longer names push a run's state out of sight."""


def run_name(words: Iterable[str]) -> str:
    """``parameter-sharing · quick · seeds=3``; what is longer than a line is cut.

    Example:
        >>> run_name(["reproduce", "quick"])
        'reproduce · quick'
    """
    return shorten(" · ".join(words), CHARACTERS, placeholder=" ...")
