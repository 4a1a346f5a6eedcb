"""Weights come back bit for bit, whole models only, and the right one."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.store import (
    ArtifactRef,
    Store,
    StoreNameError,
    Tables,
    Weights,
    export_safetensors,
    import_safetensors,
)
from overparam.store import weights as weights_module
from overparam.store.weights import BLOCK_BYTES, DTYPES, ROW_BYTES

REF = ArtifactRef("study", "step", "0123456789abcdef")


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert list(ours) == list(theirs)
    for name in theirs:
        assert ours[name].dtype == theirs[name].dtype and ours[name].shape == theirs[name].shape
        assert bits(ours[name]) == bits(theirs[name]), name


def stored(weights: Weights, store: Store | None = None) -> Tables:
    store = store or Store.open(f"memory://{uuid.uuid4().hex}")
    store.write(REF, {"net": weights}, meta={})
    return store.read(REF)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = getattr(torch, draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    size = int(np.prod(shape)) * torch.empty((), dtype=dtype).element_size()
    raw = bytearray(draw(st.binary(min_size=size, max_size=size)))
    if dtype == torch.bool:
        raw = bytearray(byte & 1 for byte in raw)
    if not size:
        return torch.empty(shape, dtype=dtype)
    tensor = torch.frombuffer(raw, dtype=torch.uint8).view(dtype).reshape(shape)
    if tensor.dim() > 1 and draw(st.booleans()):
        tensor = tensor.transpose(0, 1)
    return tensor


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda s: "\0" not in s
    and all(not 0xD800 <= ord(c) < 0xE000 for c in s)), tensors(), max_size=4))  # fmt: skip
def test_any_state_round_trips(state: dict[str, torch.Tensor]) -> None:
    assert_same(stored(Weights(state)).weights("net"), state)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_with_every_bit_pattern(dtype: str) -> None:
    kind = getattr(torch, dtype)
    raw = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.uint8)
    tensor = raw.view(torch.uint8) % 2 == 1 if kind == torch.bool else raw.view(kind)
    state = {"all": tensor, "scalar": tensor[5].clone(), "none": tensor[:0].reshape(0, 3)}
    assert_same(stored(Weights(state)).weights("net"), state)
    assert_same(Tables.of({"net": Weights(state)}).weights("net"), state)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(weights_module, "ROW_BYTES", 1000)


@pytest.mark.usefixtures("small_blocks")
def test_tensors_larger_than_a_block(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(3, 50, 70, generator=generator)
    state = {
        "plain": base,
        "transposed": base.transpose(0, 2),
        "strided": base[:, ::3, ::2],
        "expanded": torch.ones(1).expand(5000),
        "one-row": base[1:2].transpose(1, 2),
        "tail": torch.arange(7),
        "exact": torch.zeros(1024),
    }
    store = Store.open(tmp_path)
    tables = stored(Weights(state), store)
    assert_same(tables.weights("net"), state)
    for batch in Weights(state).batches():
        sizes = [len(value) for value in batch.column("values").to_pylist()]
        assert sum(sizes) <= 4096 and max(sizes) <= 1000
    assert sum(b.num_rows for b in tables.batches("net")) == tables.arrow("net").num_rows


def test_rows_fit_into_blocks() -> None:
    assert BLOCK_BYTES % ROW_BYTES == 0 and BLOCK_BYTES == 4 << 20


def models(count: int) -> list[tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            {"method": "ab"[k % 2], "seed": k},
            {"w": torch.randn(600, generator=generator), "e": torch.empty(0)},
        )
        for k in range(count)
    ]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("lazy", [False, True])
def test_one_of_many_models(tmp_path: Path, lazy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    members = models(9)
    tables = stored(Weights.stack(iter(members) if lazy else members), Store.open(tmp_path))
    for cell, state in members:
        assert_same(tables.weights("net", **cell), state)
        assert_same(tables.weights("net", seed=cell["seed"]), state)
    with pytest.raises(
        ValueError, match=r"more than one model.*weights\('net', method='b', seed=1\)"
    ):
        tables.weights("net")
    with pytest.raises(ValueError, match="more than one model"):
        tables.weights("net", method="a")
    with pytest.raises(ValueError, match=r"no model with {'seed': 9}; there are .*'seed': 0"):
        tables.weights("net", seed=9)
    with pytest.raises(ValueError, match="no cell column 'depth'; it has method, seed"):
        tables.weights("net", depth=1)
    with pytest.raises(ValueError, match="no model with"):
        tables.weights("net", seed="1")
    read = 0
    add = weights_module.Assembler.add

    def counted(self: Any, rows: Any) -> None:
        nonlocal read
        read += rows.num_rows
        add(self, rows)

    monkeypatch.setattr(weights_module.Assembler, "add", counted)
    tables.weights("net", seed=4)
    assert (
        read == 4
    )  # three rows of w, one of e: blocks of the other eight models were not looked at


def test_models_of_several_artifacts(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    members = models(3)
    parts = []
    for cell, state in members:
        ref = ArtifactRef("study", "step", f"{cell['seed']:08x}")
        store.write(ref, {"net": Weights(state)}, meta={"cell": cell})
        parts.append(store.read(ref, cell=cell))
    tables = Tables.concat(parts)
    for cell, state in members:
        assert_same(tables.weights("net", seed=cell["seed"]), state)
    with pytest.raises(ValueError, match="more than one model"):
        tables.weights("net")
    same = Tables.concat([store.read(ref) for ref in store.refs()])
    with pytest.raises(ValueError, match="more than one model"):
        same.weights("net")


def test_memory_tables_do_not_follow_later_training() -> None:
    weight = torch.ones(5)
    tables = Tables.of({"net": Weights({"w": weight})})
    weight += 1
    assert torch.equal(tables.weights("net")["w"], torch.ones(5))


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        ({"w": torch.ones(2, dtype=torch.complex64)}, TypeError, "'w'.*complex64.*allowed"),
        ({"w": torch.ones(2).to_sparse()}, TypeError, "'w'.*sparse"),
        ({"w": torch.empty(2, device="meta")}, TypeError, "'w'.*meta"),
        ({"w": np.ones(2)}, TypeError, "'w' is a ndarray"),
        ({"w": 1.0}, TypeError, "'w' is a float"),
        ({"a\0": torch.ones(1)}, StoreNameError, "tensor name"),
        ({"a" * 301: torch.ones(1)}, StoreNameError, "301|303"),
    ],
)
def test_bad_states_are_refused_at_once(state: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Weights(state)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "members is empty"),
        ([({"tensor": 1}, {})], "cell name 'tensor' is not allowed"),
        ([({"x": [1]}, {})], "cell 'x' is a list"),
        ([({"x": 1}, {"w": torch.ones(1)}), ({"y": 1}, {"w": torch.ones(1)})], "differs in names"),
        (
            [({"x": 1}, {"w": torch.ones(1)}), ({"x": "1"}, {"w": torch.ones(1)})],
            "differs in names or types",
        ),
    ],
)
def test_bad_cells_are_refused(members: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(Weights.stack(members).batches())


def test_an_iterator_of_models_is_written_once() -> None:
    weights = Weights.stack(iter(models(2)))
    stored(weights)
    with pytest.raises(ValueError, match="written already"):
        stored(weights)
    again = Weights.stack(models(2))
    assert stored(again).arrow("net").equals(stored(again).arrow("net"))


def test_a_table_of_weights_can_be_copied(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    state = {"w": torch.randn(1000, generator=torch.Generator().manual_seed(0))}
    tables = stored(Weights(state), store)
    copy = ArtifactRef("study", "copy", "0" * 8)
    store.write(copy, {"net": tables.batches("net")}, meta={})
    assert_same(store.read(copy).weights("net"), state)
    with pytest.raises(ValueError, match="doesn't hold weights"):
        Tables.of({"x": tables.arrow("net", ["tensor"])}).weights("x")


def test_safetensors_both_ways(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    members = models(2)
    tables = stored(Weights.stack(members))
    export_safetensors(tables, "net", tmp_path / "net.safetensors", seed=1)
    state = load_file(tmp_path / "net.safetensors")
    assert_same({name: state[name] for name in members[1][1]}, members[1][1])
    back = stored(import_safetensors(tmp_path / "net.safetensors")).weights("net")
    assert_same(dict(sorted(back.items())), dict(sorted(members[1][1].items())))
    (tmp_path / "bad").write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        import_safetensors(tmp_path / "bad")
