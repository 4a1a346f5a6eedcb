"""From source to syntax tree, in a process that runs threads."""

import ast
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ALONE = threading.Lock()


def parse(source: str | bytes, *, filename: str = "<unknown>") -> ast.Module:
    """``ast.parse`` that nothing interrupts.

    CPython 3.11 counts the depth of the tree in one place for all threads. What the garbage
    collector calls (finalizers, weak references) may parse itself or let another thread do so
    (``inspect.signature`` of a builtin does), and the outer call ends with ``SystemError: AST
    constructor recursion depth mismatch``. Nothing is collected meanwhile, so that cannot happen.

    Raises:
        SyntaxError, ValueError: the source is not valid Python.
    """
    with _uncollected():
        return ast.parse(source, filename=filename)


def parse_expression(source: str) -> ast.expr:
    """The same for one expression.

    Raises:
        SyntaxError, ValueError: the source is not one.
    """
    with _uncollected():
        return ast.parse(source, mode="eval").body


@contextmanager
def _uncollected() -> Iterator[None]:
    with _ALONE:
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()
