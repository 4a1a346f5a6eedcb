"""Files and factories that a config names count by their content."""

import os
import shutil
from pathlib import Path

import pytest

from overparam.studies import load
from overparam.study import ConfigError, PackageFile, make_plan
from overparam.study.loading import load_module, load_object

FACTORY = '''
"""A factory."""

WIDTH = 4


def helper(width):
    # a comment
    return [0.0] * width


def unrelated():
    return 1


def make():
    """Make it."""
    return helper(WIDTH)
'''


TOYS = Path(__file__).parent.parent / "toys"
study = load(str(TOYS / "content.py"))
Config = study.config


def key(**overrides):
    plan = make_plan(study, "quick", {name: str(value) for name, value in overrides.items()})
    return plan.key(plan.cells[0])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    return path


@pytest.mark.parametrize("field", ["data", "weights"])
def test_bytes_count_and_neither_time_nor_place_does(file, tmp_path, field):
    before = key(**{field: file})
    os.utime(file, (1, 1))
    assert key(**{field: file}) == before
    moved = tmp_path / "elsewhere" / "other-name.csv"
    moved.parent.mkdir()
    shutil.copy(file, moved)
    assert key(**{field: moved}) == before
    file.write_text("a,b\n1,3\n")
    assert key(**{field: file}) != before
    other_suffix = tmp_path / "data.txt"
    shutil.copy(moved, other_suffix)
    assert key(**{field: other_suffix}) != before


def test_a_file_is_handed_over_as_a_path(file):
    config = Config.for_profile("quick", {"data": str(file)})
    assert config.step_value("data") == Path(file)
    assert config.step_value("weights") is None


def test_a_missing_file_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no file 'none.csv'") as caught:
        Config.for_profile("quick", {"data": "none.csv"})
    assert str(tmp_path / "none.csv") in str(caught.value)
    with pytest.raises(ConfigError, match="there is no file"):
        Config.for_profile("quick", {"data": str(tmp_path)})


def test_package_files():
    named = PackageFile("sklearn", "datasets/data/iris.csv")
    path = Config.for_profile("quick", {"data": named}).step_value("data")
    assert path.is_file() and path.name == "iris.csv"
    assert key(data=named) == key(data=path)
    for bad, words in [
        (PackageFile("no_such_package", "x.csv"), "pip install no_such_package"),
        (PackageFile("sklearn", "datasets/data/none.csv"), "there is no file"),
        (PackageFile("sklearn", "../numpy/version.py"), "leaves the folder"),
        (PackageFile("../etc", "passwd"), "needs the package"),
    ]:
        with pytest.raises(ConfigError, match=words):
            Config.for_profile("quick", {"data": bad})


def edited(tmp_path, old, new, *, name="factory.py"):
    text = FACTORY.replace(old, new)
    assert text != FACTORY or old == new
    path = tmp_path / name
    path.write_text(text)
    return f"{path}:make"


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("[0.0]", "[1.0]", True),
        ("WIDTH = 4", "WIDTH = 5", True),
        ("helper(WIDTH)", "helper(WIDTH + 1)", True),
        ("# a comment", "# another comment", False),
        ('"""Make it."""', '"""Make it well."""', False),
        ("return 1", "return 2", False),
    ],
)
def test_a_factory_counts_by_the_source_that_it_reaches(tmp_path, old, new, counts):
    before = key(factory=edited(tmp_path, "", ""))
    assert (key(factory=edited(tmp_path, old, new)) != before) is counts


def test_a_factory_reaches_the_file_beside_it(tmp_path):
    (tmp_path / "layers.py").write_text("def layer():\n    return 1\n")
    factory = edited(tmp_path, "return helper(WIDTH)", "import layers\n    return layers.layer()")
    before = key(factory=factory)
    (tmp_path / "layers.py").write_text("def layer():\n    return 2\n")
    assert key(factory=factory) != before


def test_a_factory_of_a_module_counts_too():
    assert key(factory="overparam.models:MLP") != key(factory="overparam.models:SmallConvNet")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("make", "is not of the form"),
        ("none.py:make", "there is no file 'none.py'"),
        ("a-b:make", "neither a .py file nor a module name"),
        ("overparam.models:", "is not of the form"),
    ],
)
def test_a_factory_that_is_none(value, words):
    with pytest.raises(ConfigError, match=words):
        Config.for_profile("quick", {"factory": value})


def test_objects_are_loaded_by_file_and_by_module(tmp_path):
    place = edited(tmp_path, "", "")
    assert load_object(place)() == [0.0] * 4
    assert load_object("overparam.models:MLP").__name__ == "MLP"
    with pytest.raises(ValueError, match=r"has no 'mke'; it has .*make"):
        load_object(place.replace(":make", ":mke"))


def test_a_user_file_never_hides_a_package_of_ours(tmp_path, monkeypatch):
    (tmp_path / "tasks.py").write_text("HIDDEN = True\n")
    (tmp_path / "mine.py").write_text("import tasks\nVALUE = tasks.__file__\n")
    monkeypatch.chdir(tmp_path)
    mine = load_module("mine.py")
    assert Path(mine.VALUE).name == "__init__.py"
    assert mine.__name__.startswith("_overparam_user_mine_")


def test_a_file_is_loaded_anew_when_its_content_changed(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("VALUE = 1\n")
    first = load_module(str(path))
    assert load_module(str(path)) is first
    path.write_text("VALUE = 2\n")
    assert load_module(str(path)).VALUE == 2
    path.write_text("VALUE = 1 / 0\n")
    for _ in range(2):  # a module that fails leaves no half of itself behind
        with pytest.raises(ZeroDivisionError):
            load_module(str(path))
    with pytest.raises(ImportError, match="there is no file"):
        load_module(str(tmp_path / "none.py"))
