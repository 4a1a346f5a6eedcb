"""A step's state is restored bit for bit, or not at all."""

import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from overparam.store import Checkpoint, Store, StoreNameError

KEY = "0123456789abcdef"


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store.open(tmp_path if request.param == "disk" else f"memory://{uuid.uuid4().hex}/root")


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert torch.equal(a, b)
    elif isinstance(a, np.ndarray | np.generic):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    else:
        assert a == b or a != a


def test_a_nest_of_everything(store: Store) -> None:
    tied = torch.randn(4, 3)
    state = {
        "tensors": {
            "a": tied,
            "b": tied,
            "view": tied.t(),
            "half": tied.bfloat16(),
            "0d": torch.tensor(1),
        },
        0: [1, 2.5, float("inf"), float("nan"), True, None, "é\0", 2**200, (1, (2,)), [], {}, ()],
        "arrays": [np.arange(5, dtype=np.uint64), np.float32(3), np.zeros((0, 2)), np.bool_(True)],
    }
    checkpoint = Checkpoint(store, KEY)
    assert checkpoint.load() is None
    checkpoint.save(state)
    back = Checkpoint(store, KEY).load()
    assert_same(back, state)
    checkpoint.save({"epoch": 2})
    assert checkpoint.load() == {"epoch": 2}
    checkpoint.clear()
    assert checkpoint.load() is None
    checkpoint.clear()


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(store: Store) -> None:
    def fresh() -> tuple[Any, Any, torch.Generator, np.random.Generator]:
        weight = torch.nn.Parameter(torch.zeros(8))
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        return (
            weight,
            optimizer,
            torch.Generator().manual_seed(3),
            np.random.Generator(np.random.Philox(7)),
        )

    def step(
        weight: Any, optimizer: Any, generator: torch.Generator, rng: np.random.Generator
    ) -> None:
        optimizer.zero_grad()
        target = torch.randn(8, generator=generator) + rng.normal()
        ((weight - target) ** 2).sum().backward()
        optimizer.step()

    straight = fresh()
    for _ in range(10):
        step(*straight)
    first = fresh()
    for _ in range(4):
        step(*first)
    Checkpoint(store, KEY).save(
        {
            "weight": first[0],
            "optimizer": first[1].state_dict(),
            "torch": first[2].get_state(),
            "numpy": first[3].bit_generator.state,
        }
    )
    second = fresh()
    state = Checkpoint(store, KEY).load()
    assert state is not None
    with torch.no_grad():
        second[0].copy_(state["weight"])
    second[1].load_state_dict(state["optimizer"])
    second[2].set_state(state["torch"])
    second[3].bit_generator.state = state["numpy"]
    for _ in range(6):
        step(*second)
    assert torch.equal(second[0], straight[0])


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a": {"b": [object()]}}, r"state\['a'\]\['b'\]\[0\] is a object"),
        ({"a": {1, 2}}, r"state\['a'\] is a set"),
        ({"a": {(1, 2): 3}}, "key \\(1, 2\\) is a tuple"),
        ({"a": np.array(["x"])}, r"state\['a'\] is an array of <U1"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, r"state\['a'\].*complex64"),
    ],
)
def test_what_cannot_be_saved_says_where(store: Store, state: Any, said: str) -> None:
    checkpoint = Checkpoint(store, KEY)
    checkpoint.save({"epoch": 1})
    with pytest.raises(TypeError, match=said):
        checkpoint.save(state)
    assert checkpoint.load() == {"epoch": 1}


def test_keys_stay_inside(store: Store) -> None:
    with pytest.raises(StoreNameError):
        Checkpoint(store, "../../etc")


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "json", "index-flip", "empty"])
def test_a_damaged_checkpoint_is_none_with_a_warning(tmp_path: Path, damage: str) -> None:
    checkpoint = Checkpoint(Store.open(tmp_path), KEY)
    checkpoint.save({"w": torch.ones(100), "epoch": 17})
    folder = tmp_path / "scratch" / KEY
    (tensors,) = folder.glob("tensors-*")
    index = folder / "checkpoint.json"
    data = bytearray(tensors.read_bytes())
    if damage == "flip":
        data[-5] ^= 1
        tensors.write_bytes(data)
    elif damage == "cut":
        tensors.write_bytes(data[:-1])
    elif damage == "gone":
        tensors.unlink()
    elif damage == "index-flip":
        index.write_bytes(index.read_bytes().replace(b"17", b"18"))
    else:
        index.write_bytes(b"{" if damage == "json" else b"")
    with pytest.warns(RuntimeWarning, match="is damaged .*starts anew"):
        assert checkpoint.load() is None
    checkpoint.save({"epoch": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.load() == {"epoch": 1}
    assert len(list(folder.iterdir())) == 1
