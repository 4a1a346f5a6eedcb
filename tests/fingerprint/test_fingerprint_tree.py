"""What a source tree refuses, keeps on disk, and says of itself."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from overparam.fingerprint import FingerprintError, SourceTree, changed_parts, default_cache_folder

STUDY = """
from overparam.study import Study as Experiment
from overparam import study as declarations

study = Experiment("toy")
other = declarations.Study("other")
CELLS = [1]


@study.generate(each=lambda config: study.cells(config))
def clean(*, study_size):
    study = study_size
    return study


@study.train
def direct(clean):
    return study.name


def helper():
    return [other for _ in range(3)]


@study.train
def through_a_helper(clean):
    return helper()


@other.evaluate
def calls_clean(clean):
    def clean(study):
        return study

    return clean(1)
"""


def write(folder: Path, **files: str) -> dict[str, Path]:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return {name: folder / f"{name}.py" for name in files}


@pytest.mark.parametrize(
    ("step", "line", "what"), [("direct", 18, "study.name"), ("through_a_helper", 22, "other")]
)
def test_a_step_that_names_its_study_is_refused(
    step: str, line: int, what: str, tmp_path: Path
) -> None:
    tree = SourceTree(write(tmp_path, my_study=STUDY), cache=None)
    with pytest.raises(FingerprintError) as error:
        tree.fingerprint("my_study", step)
    assert f"my_study.py:{line}: " in str(error.value)
    assert repr(what) in str(error.value)


@pytest.mark.parametrize("step", ["clean", "calls_clean"])
def test_a_decorator_or_a_local_variable_may_name_the_study(step: str, tmp_path: Path) -> None:
    tree = SourceTree(write(tmp_path, my_study=STUDY), cache=None)
    assert set(tree.fingerprint("my_study", step).parts) == {f"my_study:{step}"}


def test_the_study_is_not_part_of_a_whole_file(tmp_path: Path) -> None:
    text = STUDY.replace("return study.name", "return 1").replace("[other for _", "[1 for _")
    tree = SourceTree(write(tmp_path, my_study=text), cache=None)
    parts = tree.fingerprint_source("my_study").parts
    assert set(parts) == {"my_study:CELLS", "my_study:helper"}


def test_a_factory_is_fingerprinted_with_its_file_as_its_package(tmp_path: Path) -> None:
    text = "import torch\n\nWIDTH = 3\n\ndef build():\n    return torch.nn.Linear(WIDTH, 1)\n"
    first = SourceTree(write(tmp_path, model=text), cache=None).fingerprint("model", "build")
    assert set(first.parts) == {"model:build", "model:WIDTH"}
    write(tmp_path, model=text.replace("WIDTH = 3", "WIDTH = 4"))
    second = SourceTree({"model": tmp_path / "model.py"}, cache=None).fingerprint("model", "build")
    assert changed_parts(first.parts, second.parts) == [
        ("model:WIDTH", first.parts["model:WIDTH"], second.parts["model:WIDTH"])
    ]


def test_missing_names_and_broken_files_are_named(tmp_path: Path) -> None:
    packages = write(tmp_path, good="import bad\n\ndef f():\n    return bad.g()\n", bad="def g(:\n")
    tree = SourceTree(packages, cache=None)
    with pytest.raises(FingerprintError, match=r"bad\.py:1: not valid Python"):
        tree.fingerprint("good", "f")
    with pytest.raises(FingerprintError, match="'ugly' is not in the followed packages"):
        tree.fingerprint("ugly", "f")
    with pytest.raises(FingerprintError, match=r"good\.py: defines no 'h'"):
        tree.fingerprint("good", "h")
    with pytest.raises(ValueError, match=r"packages\['gone'\]"):
        SourceTree({"gone": tmp_path / "gone"}, cache=None)


def test_a_tree_keeps_what_it_read_and_a_new_one_sees_the_change(toy: Any) -> None:
    tree = toy.tree()
    before = tree.fingerprint("my_study", "direct")
    toy.replace("lib/core.py", "FACTOR = 2", "FACTOR = 3")
    assert tree.fingerprint("my_study", "direct") == before
    assert toy.tree().fingerprint("my_study", "direct") != before


def test_the_cache_is_by_content_and_equal_to_none(toy: Any) -> None:
    first = toy.digests()
    entries = {file: file.stat().st_mtime_ns for file in toy.cache.rglob("*.json")}
    assert len(entries) > 20
    assert toy.digests() == first
    assert {file: file.stat().st_mtime_ns for file in toy.cache.rglob("*.json")} == entries
    without = SourceTree(toy.packages, cache=None)
    assert {step: without.fingerprint("my_study", step).digest for step in first} == first


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"units": [{}]}',
        b'{"units": 3}',
        b"\xff\xfe",
        b"\x80\x04K\x01.",
    ],
)
def test_a_damaged_cache_is_computed_again(damage: bytes, toy: Any) -> None:
    first = toy.digests()
    files = list(toy.cache.rglob("*.json"))
    for file in files:
        file.write_bytes(damage)
    assert toy.digests() == first
    assert all(json.loads(file.read_bytes())["units"] is not None for file in files)


def test_a_cache_that_cannot_be_written_is_done_without(toy: Any) -> None:
    toy.cache.write_text("a file where the folder should be")
    assert toy.digests()


def test_eight_readers_may_share_a_cold_cache(toy: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: toy.digests(), range(8)))
    assert all(result == results[0] for result in results)
    assert not list(toy.cache.rglob("*.tmp"))


def test_the_default_cache_lies_in_the_users_cache_folder() -> None:
    assert default_cache_folder().parts[-2:] == ("overparam", "fingerprint")


def test_nothing_that_is_analysed_is_imported(tmp_path: Path) -> None:
    packages = write(tmp_path, loud="raise SystemExit(3)\n\ndef f():\n    return 1\n")
    code = (
        "import sys, pathlib; from overparam.fingerprint import SourceTree;"
        f"tree = SourceTree({{'loud': pathlib.Path({str(packages['loud'])!r})}}, cache=None);"
        "tree.fingerprint('loud', 'f');"
        "assert not {'loud', 'torch', 'numpy', 'platformdirs', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


TRICKY = r"""
'Doc.'
import numpy as np
def f(x, /, y: 'int' = 1, *a, z=(1, 2), **k) -> str:
    'Doc.'
    try:
        with open(x) as s, open(y): pass
    except (OSError, ValueError) as e:
        raise RuntimeError(f"{e!r}: {k['a']} {x=:>{y}} {{}}" "\n'" f'\t{z[(1, 2)]}"') from e
    match x:
        case {'a': [1, *rest], **other} | {'b': rest}: ...
    v = u'text' 'more' if 0 else 1e400 + 1j - -1 ** -y, rb'\x00'
    del (a), k
    return lambda: (yield), x[1:2, ::3], {**k, 'a': not (y and z or a)}, (n := 10), [*a], 0xFF
"""


def test_the_digest_does_not_depend_on_the_version_of_python(tmp_path: Path) -> None:
    """The pinned value comes out of Python 3.11, 3.12 and 3.13 alike, unlike ``ast.dump``."""
    tree = SourceTree(write(tmp_path, tricky=TRICKY), cache=None)
    digest = tree.fingerprint("tricky", "f").digest
    assert digest == "e403eecb8ce43160a60dea2be10487e4c7b1c257ea243d9e733cbcbf6ecc7daf"
