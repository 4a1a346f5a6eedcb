"""What cannot be followed is refused with file and line; the library itself is clean."""

from pathlib import Path

import pytest

import overparam
from overparam.fingerprint import FingerprintError, Problem, lint

LIBRARY = Path(overparam.__file__).parent

# Loading the user's own files and asking which modules are loaded are the only exceptions.
ALLOWED = {
    "overparam/study/loading.py": [
        "importlib.import_module",
        "importlib.util.module_from_spec",
        "importlib.util.spec_from_file_location",
        "sys.modules",
    ],
    "overparam/study/declaration.py": ["sys.modules"],
    "overparam/study/execution.py": ["sys.modules"],
    "overparam/study/plan.py": ["sys.modules"],
    "overparam/store/sources.py": ["sys.modules"],
}

OFFENDERS = {
    "module __getattr__": ("def __getattr__(name):\n    return name\n", 1, "__getattr__"),
    "assigned __getattr__": ("x = 1\n__getattr__ = print\n", 2, "__getattr__"),
    "import_module": (
        "import importlib\n\nm = importlib.import_module('m')\n",
        3,
        "importlib.import_module",
    ),
    "import_module by name": (
        "from importlib import import_module\n",
        1,
        "importlib.import_module",
    ),
    "import_module by another name": (
        "import importlib as i\nm = i.import_module('m')\n",
        2,
        "importlib.import_module",
    ),
    "__import__": ("m = __import__('m')\n", 1, "__import__"),
    "reload": ("import importlib\nimportlib.reload(importlib)\n", 2, "importlib.reload"),
    "exec": ("def f():\n    exec('1')\n", 2, "exec"),
    "exec as a value": ("run = exec\n", 1, "exec"),
    "builtins.exec": ("import builtins\nbuiltins.exec('1')\n", 2, "builtins.exec"),
    "eval": ("y = [eval(x) for x in '1']\n", 1, "eval"),
    "global": ("n = 1\ndef f():\n    global n\n    n = 2\n", 3, "global"),
    "globals": ("f = globals()['x']\n", 1, "globals"),
    "globals written": ("globals()['x'] = 1\n", 1, "globals"),
    "vars written": ("def f(m):\n    vars(m)['x'] = 1\n", 2, "vars"),
    "vars updated": ("def f(m):\n    vars(m).update(x=1)\n", 2, "vars"),
    "vars of a module": ("import math\nnames = vars(math)\n", 2, "vars"),
    "locals at module level": ("x = locals()\n", 1, "locals"),
    "locals written": ("def f():\n    locals()['x'] = 1\n", 2, "locals"),
    "setattr on a module": ("import math\nsetattr(math, 'pi', 3)\n", 2, "setattr"),
    "attribute of a module": ("import math\n\n\nmath.pi = 3\n", 4, "setattr"),
    "attribute of an own module": ("from toy import other\nother.x = 3\n", 2, "setattr"),
    "delattr on a module": ("import math\ndelattr(math, 'pi')\n", 2, "setattr"),
    "sys.modules": ("import sys\nm = sys.modules['m']\n", 2, "sys.modules"),
    "sys.modules by name": ("from sys import modules\n", 1, "sys.modules"),
    "getattr of an own module": (
        "from . import other\ndef f(n):\n    return getattr(other, n)\n",
        3,
        "getattr",
    ),
    "__dict__ of an own module": ("import toy.other\nd = toy.other.__dict__\n", 2, "__dict__"),
    "subclasses": ("class A:\n    pass\nall_of_them = A.__subclasses__()\n", 3, "__subclasses__"),
    "pkgutil": ("import pkgutil\n", 1, "pkgutil"),
    "runpy": ("import runpy\n", 1, "runpy"),
    "spec from file": (
        "from importlib.util import spec_from_file_location as s\n",
        1,
        "importlib.util.spec_from_file_location",
    ),
}

CLEAN = """
import importlib.metadata
import importlib.resources
import importlib.util
import sys

from . import other

model = other.Model()
model.eval()


class Lazy:
    def __getattr__(self, name):
        return getattr(self, name + "_")


def f(thing, *, evaluate=None):
    setattr(thing, "x", 1)
    thing.y = 2
    values = {name: value for name, value in vars(thing).items()}
    sys.stdout.flush()
    return getattr(other, "g")(values), importlib.util.find_spec("torch"), locals()
"""


def toy(folder: Path, text: str) -> Path:
    package = folder / "toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("x = 1\n")
    (package / "offender.py").write_text(text)
    return package


@pytest.mark.parametrize("name", OFFENDERS)
def test_an_offender_is_named_with_file_and_line(name: str, tmp_path: Path) -> None:
    text, line, construct = OFFENDERS[name]
    package = toy(tmp_path, text)
    problems = lint([package])
    assert {(p.file, p.line, p.what.partition(":")[0]) for p in problems} >= {
        (package / "offender.py", line, construct)
    }
    assert {p.file.name for p in problems} == {"offender.py"}
    assert str(problems[0]).startswith(f"{package / 'offender.py'}:")
    permitted = {p.what.partition(":")[0] for p in problems}
    assert lint([package], allowed={"toy/offender.py": permitted}) == []


def test_what_can_be_followed_is_not_refused(tmp_path: Path) -> None:
    assert lint([toy(tmp_path, CLEAN)]) == []


def test_a_single_file_is_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "alone.py"
    file.write_text("\n\nexec('1')\n")
    assert lint([file]) == [Problem(file, 3, "exec: runs code that is made at run time")]


def test_an_exception_holds_for_its_construct_alone(tmp_path: Path) -> None:
    package = toy(tmp_path, "exec('1')\neval('1')\n")
    problems = lint([package], allowed={"toy/offender.py": ["exec"]})
    assert [(p.line, p.what.partition(":")[0]) for p in problems] == [(2, "eval")]


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a folder nor a file"):
        lint([tmp_path / "gone"])
    with pytest.raises(ValueError, match=r"toy/gone\.py"):
        lint([toy(tmp_path, "")], allowed={"toy/gone.py": ["exec"]})
    (tmp_path / "broken.py").write_text("x = = 1\n")
    with pytest.raises(FingerprintError, match=r"broken\.py:1"):
        lint([tmp_path / "broken.py"])


def test_the_library_can_be_followed() -> None:
    assert [str(problem) for problem in lint([LIBRARY], allowed=ALLOWED)] == []
