"""Parsing while the garbage collector calls code that parses too."""

import ast
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from overparam.fingerprint import parse
from overparam.fingerprint._parse import parse_expression

LONG = "\n".join(
    f"value_{n} = [({n} + x) * {{'y': {n}}}['y'] for x in range({n})]" for n in range(99)
)


@pytest.fixture
def collector_that_parses():
    """Every collection parses a line in the middle of whatever allocated last."""

    def collected(phase, info):
        if phase == "start":
            ast.parse("def signature(x, *, y=1): pass")

    threshold = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(10, 1, 1)
    yield
    gc.set_threshold(*threshold)
    gc.callbacks.remove(collected)


@pytest.mark.usefixtures("collector_that_parses")
def test_a_collection_in_the_middle_spoils_nothing():
    for _ in range(20):
        assert len(parse(LONG).body) == 99
        assert isinstance(parse_expression("[x for x in (1, 2, 3)]"), ast.ListComp)
    assert gc.isenabled()


def test_the_collector_stays_as_it_was():
    with pytest.raises(SyntaxError):
        parse("def")
    assert gc.isenabled()
    gc.disable()
    try:
        parse("x = 1")
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the defect of CPython 3.11")
def test_without_it_python_fails():
    """The reason for it all: should this stop failing on 3.11, ``parse`` can go."""
    code = f"""
import ast, gc
gc.callbacks.append(lambda phase, info: ast.parse("def signature(x, *, y=1): pass"))
gc.set_threshold(10, 1, 1)
ast.parse({LONG!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "recursion depth mismatch" in done.stderr


def test_file_name_is_told():
    with pytest.raises(SyntaxError) as caught:
        parse("def", filename=str(Path("some") / "study.py"))
    assert caught.value.filename.endswith("study.py")
