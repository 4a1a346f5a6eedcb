"""Each edit of a package changes exactly the steps that reach what was edited."""

from dataclasses import dataclass
from typing import Any

import pytest

from overparam.fingerprint import changed_parts


@dataclass(frozen=True)
class Edit:
    name: str
    file: str
    old: str
    new: str
    changes: frozenset[str]


def edit(name: str, file: str, old: str, new: str, *changes: str) -> Edit:
    return Edit(name, file, old, new, frozenset(changes))


CORE, CONSTANTS, STUDY = "lib/core.py", "lib/constants.py", "my_study.py"
FIRST, REGISTRY = "lib/methods/first.py", "lib/registry.py"
SCALING = ("direct", "reexported", "default_argument")
EVERY_STEP = "every step"
REGISTERED = ("registered", "registered_directly")

EDITS = [
    # functions
    edit("a helper's helper", CORE, "x * FACTOR", "FACTOR * x", *SCALING),
    edit("a default argument", CORE, "offset=0", "offset=1", *SCALING),
    edit(
        "a function of the study's file",
        STUDY,
        "    return x\n\n\n@study.generate",
        "    return -x\n\n\n@study.generate",
        "local",
        "calls_a_step",
    ),
    edit("the step itself", STUDY, "return scale(x)", "return scale(x, 1)", "direct"),
    edit("the signature of a step", STUDY, "def direct(*, x)", "def direct(*, x=0)", "direct"),
    edit(
        "a step that another calls",
        STUDY,
        "def local(direct, *, x):",
        "def local(direct, *, x, z=1):",
        "local",
        "calls_a_step",
    ),
    edit("one side of a recursion", "lib/loops_back.py", "n != 0", "n > 0", "recursive"),
    edit("an f-string", CORE, "{10}", "{11}", "returning"),
    edit(
        "called in a default of a nested function",
        "lib/near/sibling.py",
        "def far(x):\n    return x",
        "def far(x):\n    return -x",
        "default_argument",
    ),
    edit("imported inside of a function", "lib/noisy.py", "return x", "return -x", "inside"),
    edit(
        "reached by getattr with a literal",
        "lib/deep/down/bottom.py",
        "def dynamic(x):\n    return x",
        "def dynamic(x):\n    return -x",
        "literal_getattr",
    ),
    edit(
        "reached by an attribute chain",
        "lib/deep/down/bottom.py",
        "def bottom(x):\n    return x",
        "def bottom(x):\n    return -x",
        "attribute_chain",
    ),
    edit("a module used as a value", "lib/whole.py", "return 2", "return 3", "module_value"),
    # constants
    edit("a constant", CORE, "FACTOR = 2", "FACTOR = 4", *SCALING),
    edit("a constant of the study", STUDY, "GRID = [1, 2]", "GRID = [1, 2, 3]", "lambdas"),
    edit("a constant in a tuple", CONSTANTS, "= 1, 2", "= 1, 3", "constant_tuple"),
    edit("a constant under if", CONSTANTS, '"posix"', '"unix"', "constant_conditional"),
    edit("a constant under try", CONSTANTS, "fastlib = None", "fastlib = 0", "constant_tried"),
    edit(
        "an import under try",
        CONSTANTS,
        "import fastlib",
        "import slowlib as fastlib",
        "constant_tried",
    ),
    edit("an item set later", CONSTANTS, '["b"] = 2', '["b"] = 3', "constant_item"),
    edit("an update later", CONSTANTS, "update(c=3)", "update(c=4)", "constant_updated"),
    edit(
        "an append in a loop",
        CONSTANTS,
        "LOOPED.append(number)",
        "LOOPED.append(-number)",
        "constant_looped",
    ),
    edit("the range of a loop", CONSTANTS, "in range(3)", "in range(5)", "constant_looped"),
    edit("an augmented assignment", CONSTANTS, "+= 10", "+= 11", "constant_augmented"),
    edit("an annotated assignment", CONSTANTS, "int = 5", "int = 6", "constant_augmented"),
    edit("a comprehension", CONSTANTS, "n * n", "n + n", "constant_comprehension"),
    edit("a second assignment", CORE, "UNUSED = 3\n", "UNUSED = 3\nFACTOR = 5\n", *SCALING),
    edit(
        "an item deleted elsewhere",
        "lib/near/sibling.py",
        "from ..core import lonely\n",
        "from ..core import lonely\nfrom ..constants import TABLE\n\ndel TABLE['a']\n",
        "constant_item",
    ),
    edit(
        "setattr elsewhere",
        "lib/near/sibling.py",
        "from ..core import lonely\n",
        "from ..core import lonely\nfrom ..classes import Base\n\nsetattr(Base, 'rate', 2)\n",
        "subclass",
    ),
    edit(
        "an attribute of a class set elsewhere",
        STUDY,
        "GRID = [",
        "classes.Base.rate = 3\nGRID = [",
        "subclass",
    ),
    edit(
        "a constant of a module set elsewhere",
        STUDY,
        "GRID = [",
        "constants.LIMIT = 7\nGRID = [",
        "constant_augmented",
    ),
    # classes
    edit("a method", "lib/classes.py", ".forward(x) + self", ".forward(x) - self", "subclass"),
    edit("a method that no text names", "lib/classes.py", "return 0", "return 1", "subclass"),
    edit("a base class", "lib/classes.py", "rate = 0.5", "rate = 0.25", "subclass"),
    edit("a base class in another file", "lib/mixins.py", "return 1", "return 2", "subclass"),
    edit("a metaclass", "lib/classes.py", "__call__(*args)", "__call__()", "metaclass"),
    edit(
        "a class named in a field's annotation",
        "lib/classes.py",
        "low = 0",
        "low = 1",
        "annotated_class",
    ),
    edit(
        "a class inside of a class", "lib/classes.py", "depth = 1", "depth = 2", "annotated_class"
    ),
    # decorators, partial, lambda
    edit(
        "a decorator",
        "lib/decorators.py",
        "        return function(*args)\n\n    return inner\n\n\ndef times",
        "        return -function(*args)\n\n    return inner\n\n\ndef times",
        "wrapped",
    ),
    edit(
        "a decorator factory", "lib/decorators.py", "factor * SLOW", "SLOW + factor", "multiplied"
    ),
    edit(
        "a constant that a decorator reads",
        "lib/decorators.py",
        "SLOW = 1",
        "SLOW = 2",
        "multiplied",
    ),
    edit("an argument of a decorator", "lib/decorated.py", "THREE = 3", "THREE = 4", "multiplied"),
    edit("a decorator taken away", "lib/decorated.py", "@functools.cache\n", "", "multiplied"),
    edit(
        "a function behind partial and lambda",
        "lib/decorators.py",
        "x + 1",
        "x + 2",
        "partial",
        "lambdas",
    ),
    edit("an argument of partial", "lib/decorated.py", "0.5", "0.25", "partial"),
    # imports
    edit(
        "a re-export turned elsewhere",
        "lib/__init__.py",
        "import scale as",
        "import lonely as",
        "reexported",
    ),
    edit(
        "an import turned elsewhere",
        STUDY,
        "import formatted, scale",
        "import formatted, lonely as scale",
        "direct",
        "default_argument",
    ),
    edit(
        "two imports swapped",
        STUDY,
        "import exported, hidden, public",
        "import exported, hidden as public, public as hidden",
        "star",
    ),
    edit("another library outside", CORE, "import numpy as np", "import cupy as np", *SCALING),
    edit("through a relative import", CORE, "x - UNUSED", "UNUSED - x", "relative"),
    edit(
        "a relative re-export turned elsewhere",
        "lib/near/__init__.py",
        "near as nearest",
        "far as nearest",
        "relative",
    ),
    edit(
        "through a star import with __all__",
        "lib/starred.py",
        "def exported(x):\n    return x",
        "def exported(x):\n    return -x",
        "star",
    ),
    edit(
        "through a star import without __all__",
        "lib/starred_open.py",
        "def public(x):\n    return x",
        "def public(x):\n    return -x",
        "star",
    ),
    edit(
        "a name added to __all__",
        "lib/starred.py",
        '["exported"]',
        '["exported", "hidden"]',
        "star",
    ),
    edit("a name dropped from __all__", "lib/starred.py", '["exported"]', "[]", "star"),
    edit(
        "the class behind an annotation turned elsewhere",
        STUDY,
        "from lib.types import Result",
        "from lib.classes import Base as Result",
        "returning",
    ),
    # registries
    edit("a registered function", FIRST, "x + 1", "x + 3", "registered"),
    edit(
        "a helper of a registered function", "lib/methods/second.py", "x + 2", "x + 3", *REGISTERED
    ),
    edit(
        "the name it is registered by",
        FIRST,
        '@register("first")',
        '@register("1st")',
        "registered",
    ),
    edit(
        "the registering decorator",
        REGISTRY,
        "METHODS[name] = function\n",
        "METHODS[name.lower()] = function\n",
        *REGISTERED,
    ),
    edit(
        "one more registered function",
        "lib/methods/second.py",
        "def _inner",
        '@register("third")\ndef third(x):\n    return 3\n\n\ndef _inner',
        "registered",
    ),
    edit(
        "registered in an object",
        FIRST,
        "def dense(x):\n    return x",
        "def dense(x):\n    return -x",
        "registered_object",
    ),
    edit(
        "the class of a registry",
        REGISTRY,
        "self.items = {}",
        "self.items = dict()",
        "registered_object",
    ),
    edit(
        "a bare registration",
        FIRST,
        "HOOKS.append(len)",
        "HOOKS.append(max)",
        "registered_hooks",
        "late_registration",
    ),
    edit(
        "registered by being a subclass", FIRST, "value = 1", "value = 2", "registered_subclasses"
    ),
    edit(
        "registered by a module imported inside of a function",
        "lib/lazy.py",
        "append(max)",
        "append(min)",
        "late_registration",
    ),
    edit(
        "a registering module not imported any more",
        "lib/methods/__init__.py",
        "from lib.methods.first import first\n",
        "",
        "registered",
        "registered_object",
        "registered_hooks",
        "registered_subclasses",
        "late_registration",
    ),
    # what runs at import
    edit("an effect of an imported module", "lib/noisy.py", '"ignore"', '"warn"', "inside"),
    edit(
        "a new effect in a module that all import",
        CORE,
        "FACTOR = 2\n",
        "FACTOR = 2\nnp.random.seed(0)\n",
        EVERY_STEP,
    ),
    edit("a new effect in the study", STUDY, "GRID = [", "lib.noisier()\nGRID = [", EVERY_STEP),
    # what changes nothing
    edit("a docstring of a function", CORE, '"""Multiply."""', '"""Multiply by the factor."""'),
    edit("a docstring of a step", STUDY, '"""Docstring of the step."""', '"""Another."""'),
    edit("a docstring taken away", CORE, '    """Multiply."""\n', ""),
    edit("a docstring of a module", CORE, '"""Core helpers."""', '"""Helpers."""'),
    edit(
        "a docstring of a class",
        "lib/classes.py",
        "    rate = 0.5\n",
        '    """A base."""\n\n    rate = 0.5\n    """A rate."""\n',
    ),
    edit("a comment", CORE, "# the factor", "# times the factor"),
    edit(
        "layout",
        CORE,
        "np.asarray(_factor(x)) + offset",
        "(\n        np.asarray(\n            _factor(x),\n        )\n        + offset\n    )",
    ),
    edit("quotes", CONSTANTS, '"posix"', "'posix'"),
    edit(
        "quotes in an f-string",
        CORE,
        "f\"{x!r:>{10}} of {x['a']}\"",
        "f'{x!r:>{10}} of {x[\"a\"]}'",
    ),
    edit(
        "blank lines and moved definitions",
        CORE,
        "def lonely(x):\n    return x - UNUSED\n",
        "\n\n\ndef lonely(x):\n\n    return x - UNUSED\n",
    ),
    edit("a claim", STUDY, '    """The claim."""\n    return GRID', "    return GRID[0]"),
    edit("how a claim is declared", STUDY, '"Theorem 1"', '"Theorem 2"'),
    edit("a figure", STUDY, "return own(direct)", "return direct"),
    edit("how a step is spread", STUDY, "batch=8", "batch=4"),
    edit("what a decorator of a step names", STUDY, '{"x": "xs"}', '{"x": "ys"}'),
    edit("the declaration of the study", STUDY, "what reaches what?", "who?"),
    edit(
        "one more claim",
        STUDY,
        "@study.claim(",
        '@study.claim("Also")\ndef also(direct):\n    return 1\n\n\n@study.claim(',
    ),
    edit("a function that nobody reaches", "lib/unrelated.py", "return x", "return -x"),
    edit("the version of the package", "lib/__init__.py", '"1.0"', '"1.1"'),
    edit(
        "not exported by a star import",
        "lib/starred.py",
        "def hidden(x):\n    return x",
        "def hidden(x):\n    return -x",
    ),
    edit(
        "private in a starred module",
        "lib/starred_open.py",
        "def _private(x):\n    return x",
        "def _private(x):\n    return -x",
    ),
    edit("the main guard", "lib/noisy.py", "print(quiet(1))", "print(quiet(2))"),
    edit(
        "the body of a class behind a function's annotation", "lib/types.py", "size = 1", "size = 2"
    ),
    edit(
        "a re-export of one more name",
        "lib/__init__.py",
        "from lib.core import scale",
        "from lib.core import lonely\nfrom lib.core import scale",
    ),
]


@pytest.fixture(scope="module")
def before(shared_toy: Any) -> dict[str, str]:
    return shared_toy.digests()


@pytest.mark.parametrize("case", EDITS, ids=lambda case: case.name)
def test_an_edit_changes_exactly_the_steps_that_reach_it(
    case: Edit, before: dict[str, str], shared_toy: Any
) -> None:
    with shared_toy.edited(case.file, case.old, case.new):
        after = shared_toy.digests()
    expected = frozenset(before) if case.changes == {EVERY_STEP} else case.changes
    assert {step for step in before if after[step] != before[step]} == expected


def test_the_place_of_the_packages_does_not_count(before: dict[str, str], toy: Any) -> None:
    assert toy.digests() == before


def test_a_shadowed_global_is_not_reached(toy: Any) -> None:
    assert set(toy.tree().fingerprint("my_study", "shadowed").parts) == {"my_study:shadowed"}


def test_what_runs_at_import_has_a_part_of_its_own(shared_toy: Any) -> None:
    parts = shared_toy.tree().fingerprint("my_study", "inside").parts
    assert set(parts) == {"my_study:inside", "lib.noisy:quiet", "lib.noisy:<top>"}


def test_what_changed_is_named(toy: Any) -> None:
    old = toy.tree().fingerprint("my_study", "direct").parts
    toy.replace(CORE, "x * FACTOR", "x")
    toy.replace(CORE, "+ offset", "- offset")
    new = toy.tree().fingerprint("my_study", "direct").parts
    changes = {part: (before, after) for part, before, after in changed_parts(old, new)}
    assert set(changes) == {"lib.core:FACTOR", "lib.core:_factor", "lib.core:scale"}
    assert changes.pop("lib.core:FACTOR") == (old["lib.core:FACTOR"], None)
    assert all(before and after and before != after for before, after in changes.values())
