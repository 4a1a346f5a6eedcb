"""The real library: nothing that runs is missed, an edit reaches who runs it and no other."""

import ast
import inspect
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import overparam
from overparam.evidence import paired_difference
from overparam.fingerprint import SourceTree
from overparam.training import batch_orders

LIBRARY = Path(overparam.__file__).parent

STUDY = """
from overparam.evidence import paired_difference
from overparam.study import Study
from overparam.training import batch_orders

study = Study("toy")


@study.train
def shuffles(*, seeds):
    return batch_orders(6, 2, seeds)


@study.evaluate
def compares(*, first, second):
    return paired_difference(first, second, region=(0, None))


@study.claim("Something holds")
def holds(compares):
    return paired_difference([1.0], [2.0], region=(0, None))
"""


def shuffles() -> None:
    batch_orders(6, 2, [1, 2])


def compares() -> None:
    paired_difference([1.0, 2.5, 3.0, 4.2], [0.5, 1.0, 2.0, 2.9], region=(0, None))


def executed(call: Callable[[], None]) -> set[str]:
    """Run ``call`` and list the library's functions that ran, as parts of a fingerprint."""
    parts: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and frame.f_code.co_filename.startswith(str(LIBRARY)):
            label = frame.f_code.co_qualname.partition(".")[0]
            if not label.startswith("<"):
                parts.add(f"{module}:{label}")

    call()  # what runs on import is another matter
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return parts


@pytest.fixture(scope="module")
def ran() -> dict[str, set[str]]:
    return {"shuffles": executed(shuffles), "compares": executed(compares)}


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    kept = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(LIBRARY, tmp_path / "overparam", ignore=kept)
    (tmp_path / "my_study.py").write_text(STUDY)
    return {"overparam": tmp_path / "overparam", "my_study": tmp_path / "my_study.py"}


def edit_function(file: Path, name: str) -> None:
    """Put a statement before the last one of a function."""
    source = file.read_text()
    last = next(
        node.body[-1]
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    lines = source.split("\n")
    lines.insert(last.lineno - 1, " " * last.col_offset + "edited = True")
    file.write_text("\n".join(lines))


def test_every_function_that_ran_is_part_of_the_fingerprint(
    ran: dict[str, set[str]], packages: dict[str, Path]
) -> None:
    tree = SourceTree(packages, cache=None)
    for step, parts in ran.items():
        assert len(parts) > (3 if step == "compares" else 0)
        assert parts <= set(tree.fingerprint("my_study", step).parts)


def test_editing_a_helper_changes_the_steps_that_run_it_alone(
    ran: dict[str, set[str]], packages: dict[str, Path], tmp_path: Path
) -> None:
    def digests() -> dict[str, str]:
        tree = SourceTree(packages, cache=tmp_path / "cache")
        return {step: tree.fingerprint("my_study", step).digest for step in ran}

    before = digests()
    edited = 0
    for step, parts in ran.items():
        for part in sorted(parts):
            module, _, name = part.partition(":")
            if not inspect.isfunction(getattr(sys.modules[module], name, None)):
                continue
            file = (tmp_path / module.replace(".", "/")).with_suffix(".py")
            text = file.read_text()
            edit_function(file, name)
            after = digests()
            file.write_text(text)
            assert {s for s in ran if after[s] != before[s]} == {step}, part
            edited += 1
    assert edited >= 4
    assert digests() == before
