import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.training import TrajectoryBuffer, trajectory_loss


def outputs(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40)
@given(
    distance=st.integers(1, 4),
    n=st.integers(1, 12),
    batch=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_reads_exactly_what_was_written_distance_epochs_ago_under_any_shuffling(
    distance, n, batch, seed
):
    generator = torch.Generator().manual_seed(seed)
    buffer = TrajectoryBuffer(n, 3, distance)
    history = []
    for epoch in range(3 * distance + 2):
        now = torch.randn(n, 3, generator=generator)
        # drop_last: the last, smaller batch is skipped, and its samples have no record.
        seen = torch.zeros(n, dtype=torch.bool)
        for index in torch.randperm(n, generator=generator).split(batch):
            if len(index) == batch or n < batch:
                buffer.write(epoch, index, now[index])
                seen[index] = True
                past, valid = buffer.read(epoch, index)
                if epoch < distance:
                    assert not valid.any()
                else:
                    then, recorded = history[epoch - distance]
                    assert torch.equal(valid, recorded[index])
                    assert torch.equal(past[valid], then[index][valid])
        history.append((now, seen))


def test_slots_of_distance_3_are_those_of_the_paper():
    buffer = TrajectoryBuffer(1, 1, 3)
    slots = []
    for epoch in range(8):
        before = buffer.state()["values"].clone()
        buffer.write(epoch, torch.tensor([0]), torch.tensor([[float(epoch + 1)]]))
        written = (buffer.state()["values"] != before).flatten().nonzero().item()
        value = buffer.read(epoch, torch.tensor([0]))[0].item()
        table = buffer.state()["values"].flatten().tolist()
        slots.append((written, table.index(value) if value else (epoch - 3) % 4))
    assert slots == [(0, 1), (1, 2), (2, 3), (3, 0), (0, 1), (1, 2), (2, 3), (3, 0)]


def test_any_shape_of_indices_and_inner_axes():
    buffer = TrajectoryBuffer(6, 5, 1, inner=(4,))
    index, now = torch.tensor([[3, 1], [0, 5]]), outputs(2, 2, 4, 5)
    buffer.write(0, index, now)
    past, valid = buffer.read(1, index)
    assert torch.equal(past, now) and valid.all() and valid.shape == (2, 2)


def test_float16_is_half_as_large_and_rounds():
    half, full = (TrajectoryBuffer(50, 8, 2, dtype) for dtype in (torch.float16, torch.float32))
    assert half.bytes - 3 * 50 * 4 == (full.bytes - 3 * 50 * 4) / 2 == 50 * 3 * 8 * 2
    now = outputs(50, 8)
    half.write(0, torch.arange(50), now)
    past, _ = half.read(2, torch.arange(50))
    assert past.dtype == torch.float32 and torch.equal(past, now.half().float())


@pytest.mark.parametrize("tau", [1.0, 5.0])
def test_top_k_keeps_the_k_probabilities_and_spreads_the_rest(tau):
    now = 3 * outputs(7, 40)
    buffer = TrajectoryBuffer(7, 40, 1, top_k=4, tau=tau)
    buffer.write(0, torch.arange(7), now)
    past, _ = buffer.read(1, torch.arange(7))
    p, q = (now / tau).softmax(-1), (past / tau).softmax(-1)
    top = p.topk(4).indices
    assert torch.allclose(q.gather(1, top), p.gather(1, top), atol=1e-6)
    rest = q.scatter(1, top, 0)
    spread = (1 - p.gather(1, top).sum(1, keepdim=True)) / 36
    assert torch.allclose(rest[rest > 0].view(7, 36), spread.expand(7, 36), rtol=1e-4)
    # 40 floats become 5 floats and 4 short integers.
    assert buffer.bytes == 2 * 7 * (4 + 5 * 4 + 4 * 2)


def test_top_k_of_all_classes_is_the_whole_table():
    buffer = TrajectoryBuffer(3, 4, 1, top_k=4)
    now = outputs(3, 4)
    buffer.write(0, torch.arange(3), now)
    assert torch.equal(buffer.read(1, torch.arange(3))[0], now)


@pytest.mark.parametrize("top_k", [None, 2])
def test_memory_map_outlives_the_process(tmp_path, top_k):
    first = TrajectoryBuffer(5, 9, 1, top_k=top_k, memory_map=tmp_path / "table")
    now = outputs(5, 9)
    first.write(4, torch.arange(5), now)
    expected = first.read(5, torch.arange(5))[0]
    again = TrajectoryBuffer(5, 9, 1, top_k=top_k, memory_map=tmp_path / "table")
    past, valid = again.read(5, torch.arange(5))
    assert valid.all() and torch.equal(past, expected)
    assert not again.read(4, torch.arange(5))[1].any()
    assert again.state() == {}
    with pytest.raises(ValueError, match="this buffer needs"):
        TrajectoryBuffer(6, 9, 1, top_k=top_k, memory_map=tmp_path / "table")


def test_state_restores_the_table():
    buffer, again = TrajectoryBuffer(3, 2, 1), TrajectoryBuffer(3, 2, 1)
    buffer.write(0, torch.arange(3), outputs(3, 2))
    again.load_state(buffer.state())
    assert torch.equal(again.read(1, torch.arange(3))[0], buffer.read(1, torch.arange(3))[0])
    with pytest.raises(ValueError, match="'values'"):
        TrajectoryBuffer(3, 3, 1).load_state(buffer.state())


def test_rows_not_to_be_kept_are_not_valid_and_harmless():
    buffer = TrajectoryBuffer(2, 2, 1)
    now = torch.tensor([[1.0, torch.nan], [1.0, 2.0]])
    buffer.write(0, torch.arange(2), now, keep=torch.tensor([False, True]))
    past, valid = buffer.read(1, torch.arange(2))
    assert valid.tolist() == [False, True]
    loss = trajectory_loss(torch.ones(2, 2), past, 1.0, valid)
    assert loss.isfinite()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": 0}, "distance=0"),
        ({"n": 0}, "n=0"),
        ({"dtype": torch.int8}, "dtype=torch.int8"),
        ({"top_k": 0}, "top_k=0"),
        ({"tau": 0.0}, "tau=0"),
        ({"memory_map": "x", "device": "meta"}, "device=meta"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        TrajectoryBuffer(**{"n": 4, "n_classes": 3, "distance": 1, **change})


@pytest.mark.parametrize(
    ("index", "logits", "message"),
    [
        ([0, 4], torch.zeros(2, 3), r"0\.\.4; allowed 0\.\.3"),
        ([-1, 0], torch.zeros(2, 3), "-1"),
        ([0.0, 1.0], torch.zeros(2, 3), "expected integers"),
        ([0, 1], torch.zeros(2, 5), "made for 3 classes"),
        ([0, 1], torch.tensor([[0, 0, torch.inf], [0, 0, 0]]), "1 values that are not finite"),
    ],
)
def test_bad_writes(index, logits, message):
    with pytest.raises(ValueError, match=message):
        TrajectoryBuffer(4, 3, 1).write(0, torch.tensor(index), logits)


def test_a_value_beyond_float16_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        TrajectoryBuffer(1, 1, 1, torch.float16).write(0, torch.tensor([0]), torch.tensor([[1e6]]))
