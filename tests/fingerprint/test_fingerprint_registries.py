"""A registry filled from another module: who reads it sees that, who does not sees nothing."""

from pathlib import Path

import pytest

from overparam.fingerprint import SourceTree

STUDY = """
import plugins
import registry


def reads():
    return registry.read()


def ignores():
    return registry.other()
"""

OTHER = "\n\ndef other():\n    return 0\n"

# name -> the registry, the module that fills it with `found`
WAYS = {
    "alias of a method": (
        "class R:\n    def add(self, f):\n        return f\nTABLE = R()\nadd = TABLE.add\n"
        "def read():\n    return TABLE\n",
        "from registry import add\n@add\ndef found():\n    return 1\n",
    ),
    "decorator made from the registry": (
        "def make(table):\n    def add(f):\n        table[f.__name__] = f\n"
        "        return f\n    return add\n"
        "TABLE = {}\nadd = make(TABLE)\ndef read():\n    return TABLE\n",
        "from registry import add\n@add\ndef found():\n    return 1\n",
    ),
    "method of a call's result": (
        "class R:\n    def add(self, f):\n        return f\nTABLE = R()\n"
        "def get():\n    return TABLE\n"
        "def read():\n    return TABLE\n",
        "from registry import get\n@get().add\ndef found():\n    return 1\n",
    ),
    "class method": (
        "class Table:\n    items = {}\n    @classmethod\n    def add(cls, f):\n"
        "        cls.items[f] = f\n"
        "        return f\ndef read():\n    return Table.items\n",
        "from registry import Table\n@Table.add\ndef found():\n    return 1\n",
    ),
    "class as decorator": (
        "class Add:\n    items = []\n    def __init__(self, name):\n        self.name = name\n"
        "    def __call__(self, f):\n        type(self).items.append(f)\n        return f\n"
        "def read():\n    return Add.items\n",
        "from registry import Add\n@Add('x')\ndef found():\n    return 1\n",
    ),
    "singledispatch": (
        "import functools\n@functools.singledispatch\ndef read(x=None):\n    return x\n",
        "from registry import read\n@read.register\ndef found(x: int):\n    return 1\n",
    ),
    "metaclass": (
        "TABLE = {}\nclass Meta(type):\n    def __init__(cls, *a):\n        TABLE[cls] = 1\n"
        "class Base(metaclass=Meta):\n    pass\ndef read():\n    return TABLE\n",
        "from registry import Base\nclass found(Base):\n    pass\n",
    ),
    "bare call of a function": (
        "TABLE = []\ndef add(f):\n    TABLE.append(f)\ndef read():\n    return TABLE\n",
        "from registry import add\ndef found():\n    return 1\nadd(found)\n",
    ),
    "registry handed to a function": (
        "def put(table, f):\n    table.append(f)\nTABLE = []\ndef read():\n    return TABLE\n",
        "from registry import TABLE, put\ndef found():\n    return 1\nput(TABLE, found)\n",
    ),
    "helper of the decorator": (
        "def put(table, f):\n    table.append(f)\nTABLE = []\ndef add(f):\n"
        "    put(TABLE, f)\n    return f\n"
        "def read():\n    return TABLE\n",
        "import registry\n@registry.add\ndef found():\n    return 1\n",
    ),
    "in a loop": (
        "TABLE = {}\ndef read():\n    return TABLE\n",
        "import registry as r\ndef found():\n    return 1\nfor n in 'ab':\n"
        "    r.TABLE[n] = found\n",
    ),
    "map": (
        "TABLE = []\ndef read():\n    return TABLE\n",
        "from registry import TABLE\ndef found():\n    return 1\n"
        "list(map(TABLE.append, [found]))\n",
    ),
    "kept result": (
        "class R:\n    def add(self, f):\n        return f\nTABLE = R()\n"
        "def read():\n    return TABLE\n",
        "from registry import TABLE\ndef found():\n    return 1\nkept = TABLE.add(found)\n",
    ),
    "augmented assignment": (
        "TABLE = []\ndef read():\n    return TABLE\n",
        "from registry import TABLE\ndef found():\n    return 1\nTABLE += [found]\n",
    ),
    "outside of type checking": (
        "TABLE = []\ndef read():\n    return TABLE\n",
        "import typing\nif not typing.TYPE_CHECKING:\n    from registry import TABLE\n"
        "def found():\n    return 1\nTABLE.append(found)\n",
    ),
    "attribute of a function": (
        "def read():\n    return read.table\nread.table = {}\n",
        "from registry import read\ndef found():\n    return 1\nread.table['x'] = found\n",
    ),
    "under try": (
        "TABLE = {}\ndef read():\n    return TABLE\n",
        "from registry import TABLE\ntry:\n    import fast\nexcept ImportError:\n    pass\nelse:\n"
        "    pass\ndef found():\n    return 1\nif True:\n    TABLE.update(x=found)\n",
    ),
    "in what the star import brings": (
        "TABLE = {}\ndef read():\n    return TABLE\n",
        "from registry import *\ndef found():\n    return 1\nTABLE.setdefault('x', found)\n",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_another_module_registers_is_seen(way: str, tmp_path: Path) -> None:
    registry, plugins = WAYS[way]
    for name, text in {"study": STUDY, "registry": registry + OTHER, "plugins": plugins}.items():
        (tmp_path / f"{name}.py").write_text(text)
    packages = {name: tmp_path / f"{name}.py" for name in ("study", "registry", "plugins")}
    tree = SourceTree(packages, cache=None)
    assert "plugins:found" in tree.fingerprint("study", "reads").parts
    assert set(tree.fingerprint("study", "ignores").parts) == {"study:ignores", "registry:other"}
    (tmp_path / "study.py").write_text(STUDY.replace("import plugins\n", ""))
    alone = SourceTree(packages, cache=None).fingerprint("study", "reads").parts
    assert not any(part.startswith("plugins") for part in alone)


READING = {
    "an item": "X = TABLE['a']\n",
    "a reading method": "X = TABLE.get('a')\n",
    "a builtin": "X = len(TABLE)\n",
    "a function of the outside": "import numpy as np\nX = np.array(TABLE)\n",
    "a method of a library's object": "X = TABLE.sum()\n",
    "a pure decorator": "import functools\n@functools.cache\ndef f():\n    return TABLE\n",
    "a bare print": "print(1)\n",
}


@pytest.mark.parametrize("way", READING)
def test_reading_a_registry_registers_nothing(way: str, tmp_path: Path) -> None:
    texts = {
        "study": STUDY,
        "registry": "TABLE = {'a': 1}\ndef read():\n    return TABLE\n" + OTHER,
        "plugins": f"from registry import TABLE\n{READING[way]}",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    tree = SourceTree({name: tmp_path / f"{name}.py" for name in texts}, cache=None)
    assert not any(p.startswith("plugins") for p in tree.fingerprint("study", "reads").parts)
