"""A small package and a study on it, in which each step reaches code in one way."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from overparam.fingerprint import SourceTree

FILES: Mapping[str, str] = {
    "lib/__init__.py": '''
"""The package."""
from lib.core import scale as rescale

__version__ = "1.0"
''',
    "lib/core.py": '''
"""Core helpers."""
import numpy as np

FACTOR = 2
UNUSED = 3


def _factor(x):
    """Multiply."""
    return x * FACTOR  # the factor


def scale(x, offset=0):
    return np.asarray(_factor(x)) + offset


def lonely(x):
    return x - UNUSED


def formatted(x):
    return f"{x!r:>{10}} of {x['a']}"
''',
    "lib/constants.py": """
import os

PAIR = FIRST, SECOND = 1, 2
if os.sep == "/":
    SEPARATED = "posix"
else:
    SEPARATED = "other"
try:
    import fastlib
except ImportError:
    fastlib = None
TABLE = {"a": 1}
TABLE["b"] = 2
UPDATED = {}
UPDATED.update(c=3)
LOOPED = []
for number in range(3):
    LOOPED.append(number)
COUNT = 1
COUNT += 10
LIMIT: int = 5
SQUARES = [n * n for n in range(4)]
""",
    "lib/classes.py": """
from lib.mixins import Mixin


class Meta(type):
    def __call__(cls, *args):
        return super().__call__(*args)


class Base:
    rate = 0.5

    def forward(self, x):
        return x * self.rate


class Child(Mixin, Base):
    def forward(self, x):
        return super().forward(x) + self.mixed()

    def unused_method(self):
        return 0


class Made(metaclass=Meta):
    pass


class Field:
    low = 0


class Schema:
    field: "Field" = None

    class Inner:
        depth = 1
""",
    "lib/mixins.py": """
class Mixin:
    def mixed(self):
        return 1
""",
    "lib/decorators.py": """
import functools

SLOW = 1


def timed(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


def times(factor):
    def decorate(function):
        def inner(*args):
            return factor * SLOW * function(*args)

        return inner

    return decorate


def plus_one(x):
    return x + 1
""",
    "lib/decorated.py": """
import functools

from lib.decorators import plus_one, timed, times

THREE = 3


@timed
def wrapped(x):
    return x


@times(THREE)
@functools.cache
def multiplied(x):
    return x


half = functools.partial(plus_one, 0.5)
double = lambda x: plus_one(x) * 2
""",
    "lib/registry.py": """
METHODS = {}


def register(name):
    def decorate(function):
        METHODS[name] = function
        return function

    return decorate


def method(name):
    return METHODS[name]


class Registry:
    def __init__(self):
        self.items = {}

    def add(self, item):
        self.items[item.__name__] = item
        return item


LAYERS = Registry()
HOOKS = []


class Plugin:
    known = []

    def __init_subclass__(cls):
        Plugin.known.append(cls)


def plugins():
    return Plugin.known
""",
    "lib/methods/__init__.py": """
from lib.methods.first import first
from lib.methods.second import second
""",
    "lib/methods/first.py": """
from lib.registry import HOOKS, LAYERS, Plugin, register


@register("first")
def first(x):
    return x + 1


@LAYERS.add
def dense(x):
    return x


HOOKS.append(len)


class Extra(Plugin):
    value = 1
""",
    "lib/methods/second.py": """
from lib.registry import register


def _inner(x):
    return x + 2


@register("second")
def second(x):
    return _inner(x)
""",
    "lib/starred.py": """
__all__ = ["exported"]


def exported(x):
    return x


def hidden(x):
    return x
""",
    "lib/starred_open.py": """
def public(x):
    return x


def _private(x):
    return x
""",
    "lib/stars.py": """
from lib.starred import *
from lib.starred_open import *


def hidden(x):
    return 7
""",
    "lib/near/__init__.py": """
from . import sibling
from .sibling import near as nearest
""",
    "lib/near/sibling.py": """
from ..core import lonely


def near(x):
    return lonely(x)


def far(x):
    return x
""",
    "lib/deep/__init__.py": "",
    "lib/deep/down/__init__.py": "",
    "lib/deep/down/bottom.py": """
def bottom(x):
    return x


def dynamic(x):
    return x
""",
    "lib/whole.py": """
def one(x):
    return 1


def two(x):
    return 2
""",
    "lib/noisy.py": """
import numpy as np

np.seterr(all="ignore")


def quiet(x):
    return x


if __name__ == "__main__":
    print(quiet(1))
""",
    "lib/loops.py": """
from lib import loops_back


def even(n):
    return n == 0 or loops_back.odd(n - 1)
""",
    "lib/loops_back.py": """
from lib import loops


def odd(n):
    return n != 0 and loops.even(n - 1)
""",
    "lib/types.py": """
class Result:
    size = 1
""",
    "lib/lazy.py": """
from lib.registry import HOOKS

HOOKS.append(max)


def late(x):
    return x
""",
    "lib/unrelated.py": """
def nobody(x):
    return x
""",
    "my_study.py": '''
"""A study."""
from __future__ import annotations

from typing import TYPE_CHECKING

import lib
import lib.deep.down.bottom
import lib.methods
import lib.near as nearby
from lib import classes, constants, decorated, loops, rescale, whole
from lib.core import formatted, scale
from lib.registry import HOOKS, LAYERS, method, plugins
from lib.stars import exported, hidden, public
from overparam.study import Study

if TYPE_CHECKING:
    from lib.types import Result

study = Study("toy", question="what reaches what?")
GRID = [1, 2]
EACH = {"x": "xs"}


def own(x):
    return x


@study.generate
def direct(*, x):
    """Docstring of the step."""
    return scale(x)


@study.generate
def reexported(*, x):
    return rescale(x)


@study.train(each=EACH, batch=8)
def local(direct, *, x):
    return own(x)


@study.train
def constant_tuple(*, x):
    return x * constants.SECOND


@study.train
def constant_conditional(*, x):
    return constants.SEPARATED


@study.train
def constant_tried(*, x):
    return constants.fastlib


@study.train
def constant_item(*, x):
    return constants.TABLE[x]


@study.train
def constant_updated(*, x):
    return constants.UPDATED


@study.train
def constant_looped(*, x):
    return constants.LOOPED


@study.train
def constant_augmented(*, x):
    return constants.COUNT + constants.LIMIT


@study.train
def constant_comprehension(*, x):
    return constants.SQUARES


@study.train
def subclass(*, x):
    return classes.Child().forward(x)


@study.train
def metaclass(*, x):
    return classes.Made()


@study.train
def annotated_class(*, x):
    return classes.Schema()


@study.compress
def wrapped(*, x):
    return decorated.wrapped(x)


@study.compress
def multiplied(*, x):
    return decorated.multiplied(x)


@study.compress
def partial(*, x):
    return decorated.half()


@study.compress
def lambdas(*, x):
    return [decorated.double(y) for y in GRID]


@study.compress
def registered(*, x):
    return method("first")(x)


@study.compress
def registered_directly(*, x):
    return lib.methods.second(x)


@study.compress
def registered_object(*, x):
    return LAYERS.items


@study.compress
def registered_hooks(*, x):
    return [hook(x) for hook in HOOKS]


@study.compress
def registered_subclasses(*, x):
    return plugins()


@study.evaluate
def star(*, x):
    return exported(x), public(x), hidden(x)


@study.evaluate
def relative(*, x):
    return nearby.nearest(x)


@study.evaluate
def attribute_chain(*, x):
    return lib.deep.down.bottom.bottom(x)


@study.evaluate
def literal_getattr(*, x):
    return getattr(lib.deep.down.bottom, "dynamic")(x)


@study.evaluate
def inside(*, x):
    from lib.noisy import quiet

    return quiet(x)


@study.evaluate
def late_registration(*, x):
    import lib.lazy as lazy

    return HOOKS, lazy.late(x)


@study.evaluate
def module_value(*, x):
    return vars(whole)


@study.evaluate
def shadowed(*, x, scale=None):
    own = abs
    return scale, own(x), [GRID for GRID in range(3)], (lambda method: method)(x)


@study.evaluate
def recursive(*, x):
    return loops.even(x)


@study.evaluate
def returning(*, x) -> Result:
    return formatted(x)


@study.evaluate
def calls_a_step(*, x):
    return local(None, x=x)


@study.evaluate
def default_argument(*, x=scale(1)):
    def nested(y=nearby.sibling.far(2)):
        return y

    return nested()


@study.claim("It holds", source="Theorem 1", arm="a", control="b")
def holds(direct, *, arm):
    """The claim."""
    return GRID


@study.figure("A figure")
def figure(direct):
    return own(direct)
''',
}

STEPS = frozenset(
    block.partition("(")[0]
    for decorator in ("generate", "train", "compress", "evaluate")
    for text in FILES["my_study.py"].split(f"@study.{decorator}")[1:]
    for block in [text.partition("\ndef ")[2]]
)


class Toy:
    """The package written to a folder."""

    steps = STEPS

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.packages = {"lib": folder / "lib", "my_study": folder / "my_study.py"}
        for name, text in FILES.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.lstrip("\n"))

    def tree(self) -> SourceTree:
        """Read the package as it is now."""
        return SourceTree(self.packages, cache=self.cache)

    def digests(self) -> dict[str, str]:
        """Fingerprint every step of the study."""
        tree = self.tree()
        return {step: tree.fingerprint("my_study", step).digest for step in STEPS}

    def replace(self, name: str, old: str, new: str) -> None:
        """Edit a file in the one place where ``old`` stands."""
        file = self.folder / name
        text = file.read_text()
        assert text.count(old) == 1, f"{name} holds {old!r} {text.count(old)} times"
        file.write_text(text.replace(old, new))

    @contextmanager
    def edited(self, name: str, old: str, new: str) -> Iterator[None]:
        """Edit a file for a while."""
        text = (self.folder / name).read_text()
        self.replace(name, old, new)
        try:
            yield
        finally:
            (self.folder / name).write_text(text)


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "toy")


@pytest.fixture(scope="session")
def shared_toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A package to be edited only by ``with shared_toy.edited(...)``."""
    return Toy(tmp_path_factory.mktemp("toy"))
