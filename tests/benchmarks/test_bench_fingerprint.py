"""Seconds for the fingerprints of a study's five steps on a package of 200 files.

Cold: no summary is kept. Warm: all are, in a process that has read none of them.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from overparam.fingerprint import SourceTree

FILES = 200
WARM_LIMIT = 0.2

MODULE = '''
"""Module {n}."""
import numpy as np

from big.registry import METHODS, register
{imports}

SCALE = {n}
TABLE = {{"a": {n}}}
TABLE["b"] = SCALE


class Model{n}:
    """A model."""

    rate: float = 0.5

    def __init__(self, width, depth=2):
        self.weights = [np.ones((width, width)) * SCALE for _ in range(depth)]

    def forward(self, x):
        for weight in self.weights:
            x = np.tanh(weight @ x) + _offset{n}(x)
        return x


def _offset{n}(x):
    """Offset."""
    mean = x.mean(axis=0, keepdims=True)
    return {{key: value * mean for key, value in TABLE.items()}}["a"]


@register("m{n}")
def method{n}(x, *, steps=3):
    """Method {n}."""
    model = Model{n}(len(x))
    for step in range(steps):
        x = model.forward(x) - step
        if np.isnan(x).any():
            raise ValueError(f"diverged at {{step}}: {{x.max()!r}}")
    return {calls}
'''

REGISTRY = """
METHODS = {}


def register(name):
    def decorate(function):
        METHODS[name] = function
        return function

    return decorate
"""

STUDY = """
from overparam.study import Study

import big
from big.m199 import method199
from big.registry import METHODS

study = Study("big")


@study.generate
def points(*, n):
    return n


@study.train
def trained(points):
    return method199(points)


@study.compress
def smaller(trained):
    return big.method150(trained)


@study.compress
def each(trained, *, method):
    return METHODS[method](trained)


@study.evaluate
def rates(smaller):
    return big.m100.Model100(3).forward(smaller)
"""
STEPS = ("points", "trained", "smaller", "each", "rates")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("big")
    (folder / "big").mkdir()
    modules = FILES - 3  # the registry, `__init__` and the study
    for n in range(200 - modules, 200):
        used = [m for m in (n - 1, n // 2) if m >= 200 - modules and m != n]
        text = MODULE.format(
            n=n,
            imports="\n".join(f"from big.m{m} import method{m}" for m in used),
            calls=" + ".join(["x", *(f"method{m}(x)" for m in used)]),
        )
        (folder / "big" / f"m{n}.py").write_text(text)
    (folder / "big" / "registry.py").write_text(REGISTRY)
    exports = "\n".join(f"from big.m{n} import method{n}" for n in range(200 - modules, 200))
    (folder / "big" / "__init__.py").write_text(exports)
    (folder / "study.py").write_text(STUDY)
    return {"big": folder / "big", "study": folder / "study.py"}


def key(packages: dict[str, Path], cache: Path | None) -> list[str]:
    tree = SourceTree(packages, cache=cache)
    return [tree.fingerprint("study", step).digest for step in STEPS]


def test_cold_fingerprints_of_a_study(
    packages: dict[str, Path], tmp_path: Path, benchmark: Any
) -> None:
    cache = tmp_path / "cache"

    def clear() -> tuple[tuple[Any, ...], dict[str, Any]]:
        shutil.rmtree(cache, ignore_errors=True)
        return (packages, cache), {}

    digests = benchmark.pedantic(key, setup=clear, rounds=2)
    assert digests == key(packages, None)


def test_warm_fingerprints_of_a_study(
    packages: dict[str, Path], tmp_path: Path, benchmark: Any
) -> None:
    cold = key(packages, tmp_path)
    assert benchmark.pedantic(key, args=(packages, tmp_path), rounds=8) == cold
    if benchmark.stats is not None:
        assert benchmark.stats.stats.min < WARM_LIMIT
