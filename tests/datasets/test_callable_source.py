"""What a user's callable gives, item by item: types, arrangements, and what is wrong with which."""

from collections import UserDict

import numpy as np
import pytest
import torch

from overparam.datasets import callable_source, own_samples, read_batches
from overparam.datasets.data_items import read_item
from overparam.store import Tables
from overparam.training.own_task import task_of

HEAD = "import numpy as np\nimport torch\n"


@pytest.fixture
def code(tmp_path):
    def written(body):
        file = tmp_path / "given.py"
        file.write_text(HEAD + body)
        return f"{file}:data"

    return written


def item(value):
    return read_item("train", [value], 0)


@pytest.mark.parametrize(
    ("value", "arrangement", "inputs", "target"),
    [
        ((torch.ones(2), 3), "tensor", {"x": [1.0, 1.0]}, 3),
        (([np.ones(2), [7]], torch.tensor(3)), "tuple", {"0": [1.0, 1.0], "1": [7]}, 3),
        (({"a": 1.5}, 3), "dict", {"a": 1.5}, 3),
        ({"a": [1], "b": [2], "labels": 3}, "dict", {"a": [1], "b": [2]}, 3),
        (UserDict({"a": [1], "y": 3}), "dict", {"a": [1]}, 3),
    ],
)
def test_items_of_every_form(value, arrangement, inputs, target):
    found = item(value)
    assert found.arrangement == arrangement and found.target == target
    assert {name: array.tolist() for name, array in found.inputs.items()} == inputs


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.ones(2), np.float32),
        (np.ones(2, np.float16), np.float16),
        ([1.0, 2.0], np.float32),
        (np.arange(2), np.int64),
        (torch.ones(2, dtype=torch.float64), np.float64),
        (torch.ones(2, dtype=torch.uint8), np.uint8),
        (torch.ones(2, requires_grad=True), np.float32),
        ([True, False], np.bool_),
    ],
)
def test_types(given, kept):
    assert item((given, 0)).inputs["x"].dtype == kept


class Broken:
    def __len__(self):
        return 9

    def __getitem__(self, index):
        raise OSError("disk gone")


BAD = [
    (3, r"train\[0\] is a int; allowed: \(input, target\)"),
    ((1, 2, 3), "is a tuple"),
    ({"a": 1}, "no label; allowed names: labels, label, target, y"),
    ({"y": 1}, "has the inputs none"),
    ({"target": [1.0], "labels": 3}, "has the inputs target; .* none called 'target'"),
    (((), 1), "has the inputs none"),
    (("words", 1), r"x is no numbers \(<U5\)"),
    (([[1, 2], [3]], 1), "x is no array"),
    (([1, 2], "a"), "target is no numbers"),
    ((np.array([None]), 1), "x is no numbers"),
    ((torch.ones(2, dtype=torch.bfloat16), 1), "x is torch.bfloat16"),
]


@pytest.mark.parametrize(("value", "words"), BAD)
def test_items_that_are_refused(value, words):
    with pytest.raises(ValueError, match=words):
        item(value)


def test_an_item_that_raises():
    with pytest.raises(ValueError, match=r"train\[0\] raised OSError: disk gone"):
        read_item("train", Broken(), 0)


LISTS = """
def data():
    train = [(torch.tensor([float(i), 1.0]), i % 3) for i in range(60)]
    test = [(torch.tensor([float(i), 2.0]), i % 3) for i in range(12)]
    CHANGE
    return train, test
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "train[17] = (torch.zeros(3), 1)",
            r"train\[17\] has inputs tensor x \(3,\) of floats; exp",
        ),
        ("test[5] = (torch.zeros(3), 1)", r"test\[5\] has inputs .* expected tensor x \(2,\)"),
        ("train[4] = (torch.tensor([1, 2]), 1)", r"train\[4\] has inputs .* of whole numbers"),
        ("train[4] = ((torch.zeros(2),), 1)", r"train\[4\] has inputs tuple 0 \(2,\)"),
        ("train[4] = (torch.tensor([1.0, np.inf]), 1)", r"train\[4\]: x is not finite"),
        ("test[4] = (torch.tensor([np.nan, 0]), 1)", r"test\[4\]: x is not finite"),
        (
            "train[4] = (torch.zeros(2), [1, 2])",
            r"train\[4\] has a target of shape \(2,\); exp.* \(\)",
        ),
        ("train[4] = (torch.zeros(2), 3)", r"too few samples of '3' \(1\)"),
        ("train = [(x, 1) for x, _ in train]", "holds one class, '1'"),
        ("train = [(x, y - 1) for x, y in train]", r"labels of train are \[-1, 0, 1\]"),
        ("test = [(x, 0.5) for x, _ in test]", "targets of train are int64, of test float32"),
        ("train = [(x, [y, y]) for x, y in train]", r"labels have shape \(60, 2\)"),
        (
            "train = [(x, y / 2) for x, y in train]; train[7] = (train[7][0], np.nan)",
            "item 7 is not",
        ),
        (
            "train, test = ([(x, [y / 2] * n) for x, y in s] for n, s in ((1, train), (2, test)))",
            r"targets of train have shape \(1,\), of test \(2,\)",
        ),
        ("train = train[:3]", "holds|few"),
        ("return train, test, None, None", "gave a tuple; allowed"),
        ("return train", "gave a list"),
    ],
)
def test_what_is_wrong_is_named(code, change, words):
    with pytest.raises(ValueError, match=words):
        own_samples(code(LISTS.replace("CHANGE", change))).tables()


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("def data(:", ValueError, "raised SyntaxError"),
        ("1 / 0", ValueError, "raised ZeroDivisionError"),
        ("other = 1", ValueError, "has no 'data'"),
        ("import nothing_of_this_name", ImportError, "nothing_of_this_name"),
    ],
)
def test_files_that_do_not_load(code, body, kind, words):
    with pytest.raises(kind, match=words):
        own_samples(code(body))


def test_a_module_that_is_not_there():
    with pytest.raises(ImportError, match="no_such_module"):
        own_samples("no_such_module:data")


def test_items_are_read_a_piece_at_a_time(code, monkeypatch):
    monkeypatch.setattr(callable_source, "chunk_rows", lambda size: 80 // size)
    samples = own_samples(code(LISTS.replace("CHANGE", "pass")))
    sizes = [len(codes) for _, codes in samples.chunks()]
    assert sizes == [10] * 6 + [10, 2]
    tables = Tables.of(samples.tables())
    x = torch.cat([read_batches(tables, part).inputs for part in ("train", "validation")])
    assert sorted(x[:, 0].tolist()) == list(range(60)) and bool((x[:, 1] == 1).all())
    assert read_batches(tables, "test").inputs[:, 1].tolist() == [2.0] * 12


def test_regression_targets_of_several_numbers(code):
    change = "train, test = ([(x, [y / 2, 1.0]) for x, y in part] for part in (train, test))"
    samples = own_samples(code(LISTS.replace("CHANGE", change)))
    assert samples.kind == "regression" and samples.classes == ()
    y = read_batches(Tables.of(samples.tables()), "test").targets
    assert y.shape == (12, 2) and y.dtype == torch.float32


@pytest.mark.parametrize("made", ["x, x, task", "{'train': x, 'test': x, 'task': task}"])
def test_a_task_may_come_with_the_data_sets(code, made):
    source = code(
        "from overparam.training import Task\n"
        "x = (np.ones((30, 2)), np.arange(30) % 2)\n"
        "task = Task('classification', ('no', 'yes'), forward=lambda net, x: net(x + 1))\n"
        f"def data(): return {made}\n"
    )
    samples = own_samples(source)
    assert samples.own_task
    tables = Tables.of(samples.tables())
    assert task_of(None, tables, source).classes == ("no", "yes")
    shifted = task_of(None, tables, source).outputs(lambda x: x, torch.zeros(1))
    assert shifted.tolist() == [1.0]
    # What is said on the command line wins.
    other = f"{source.removesuffix(':data')}:other"
    with open(source.removesuffix(":data"), "a") as stream:
        stream.write("other = Task('classification', ('nay', 'yea'))\n")
    assert task_of(other, tables, source).classes == ("nay", "yea")


def test_no_task_or_what_is_none_with_the_data_sets(code):
    body = "x = (np.ones((30, 2)), np.arange(30) % 2)\ndef data(): return x, x"
    assert not own_samples(code(body)).own_task
    source = code(body + ", 'cross entropy'")
    tables = Tables.of(own_samples(source).tables())
    with pytest.raises(ValueError, match="gave a str; allowed: a Task"):
        task_of(None, tables, source)
    with pytest.raises(ValueError, match=r"\(train, test, task\)"):
        own_samples(code(body + ", 1, 2"))
