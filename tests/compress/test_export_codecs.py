"""Every codec gives back every bit, and the smallest is chosen."""

import json

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from overparam.compress.export_codecs import (
    SPARSE_DTYPES,
    Integers,
    dense,
    packed,
    packed_sparse,
    smallest,
    sparse,
    zero_runs,
)
from overparam.compress.export_layout import same_bits
from overparam.compress.load_model import decode
from overparam.compress.quantised_weight import dequantise_codes

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def reloaded(coded):
    return decode("w", json.loads(json.dumps(dict(coded.entry))), dict(coded.stored))


@st.composite
def bit_patterns(draw):
    """Tensors of any type made of arbitrary bits: NaN payloads, infinities, -0, subnormals."""
    dtype = draw(st.sampled_from(sorted(SPARSE_DTYPES, key=str)))
    shape = draw(st.lists(st.integers(0, 5), max_size=3))
    size = torch.Size(shape).numel() * dtype.itemsize
    zero_share = draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    raw = torch.randint(0, 256, (size,), generator=generator, dtype=torch.uint8)
    entries = raw.view(-1, dtype.itemsize)
    entries[torch.rand(len(entries), generator=generator) < zero_share] = 0
    return entries.flatten().view(dtype).view(shape)


@given(bit_patterns())
def test_any_bits_come_back(tensor):
    for coded in (dense("w", tensor), sparse("w", tensor), smallest("w", tensor)):
        if coded is not None:
            assert same_bits(reloaded(coded), tensor)


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_equality_does_not_see_comes_back(dtype):
    quiet = {torch.float32: 0x7FC0BEEF, torch.float64: 0x7FF8_0000_0000_BEEF}
    payload = torch.tensor(quiet.get(dtype, 0x7FE1), dtype=SPARSE_DTYPES[dtype]).view(dtype)
    special = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), 0.0, 1.0], dtype=dtype)
    tensor = torch.cat([special, payload.view(1), torch.zeros(2, dtype=dtype)])
    back = reloaded(sparse("w", tensor))
    assert same_bits(back, tensor) and bool(back[1].signbit()) and bool(back[6].isnan())
    assert not same_bits(back, tensor.abs())


@pytest.mark.parametrize("value", [0.0, -0.0, 2.5])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (7, 9)])
def test_all_equal_and_empty(value, shape):
    tensor = torch.full(shape, value)
    assert same_bits(reloaded(smallest("w", tensor)), tensor)


def test_types_without_a_sparse_form_are_dense():
    for tensor in (torch.zeros(99, dtype=torch.bool), torch.zeros(99).to(torch.float8_e4m3fn)):
        assert sparse("w", tensor) is None
        assert smallest("w", tensor).codec == "dense"
        assert same_bits(reloaded(smallest("w", tensor)), tensor)


@st.composite
def integers(draw):
    bits = draw(st.integers(2, 8))
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 11))
    group = draw(st.none() | st.integers(1, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = (rows, columns) if draw(st.booleans()) else (rows, columns, 1, 1)
    parts = [(rows, -(-columns // group))] if group else [(), (rows,)]
    part = draw(st.sampled_from(parts))
    codes = torch.randint(0, 2**bits, shape, generator=generator, dtype=torch.uint8)
    zero = torch.randint(0, 2**bits, part, generator=generator, dtype=torch.uint8)
    if draw(st.booleans()):
        zero = torch.full_like(zero, 2 ** (bits - 1))
    scale = torch.rand(part, generator=generator).to(draw(st.sampled_from(FLOATS))) + 0.1
    made = Integers(codes, scale, zero, bits, group)
    if draw(st.booleans()):
        kept = torch.rand(shape, generator=generator) < 0.2
        wide = dequantise_codes(codes * 0, torch.ones_like(scale.float()), zero, group)
        codes[~kept] = (-wide).to(torch.uint8)[~kept]
    return made


@given(integers())
def test_packed_integers_dequantise_to_the_same_bits(made):
    expected = dequantise_codes(made.codes, made.scale, made.zero, made.group)
    for coded in (packed("w", made), packed_sparse("w", made), smallest("w", expected, made)):
        assert same_bits(reloaded(coded), expected)


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 8))
@example([False] * 600 + [True], 1)
@example([False] * 255 + [True] + [False] * 254 + [True], 8)
def test_runs_of_zeros(kept, repeats):
    mask = torch.tensor(kept, dtype=torch.bool).repeat_interleave(repeats)
    values = mask.float() * torch.arange(1, len(mask) + 1)
    if len(mask):
        assert same_bits(reloaded(sparse("w", values)), values)
    bits, steps = zero_runs(mask)
    assert len(steps) <= -(-len(mask) // 8)  # never more than a bitmap
    assert 1 <= bits <= 8


def test_bytes_of_the_positions():
    generator = torch.Generator().manual_seed(0)
    n = 100_000
    by_density = {}
    for density in (0.5, 0.1, 0.01):
        kept = torch.rand(n, generator=generator) < density
        bits, steps = zero_runs(kept)
        by_density[density] = bits
        entropy = -n * sum(p * torch.tensor(p).log2().item() for p in (density, 1 - density)) / 8
        assert entropy * 0.99 <= len(steps) <= 1.2 * entropy
    assert by_density[0.5] == 1  # a bitmap
    assert by_density[0.1] < by_density[0.01]


def test_the_smallest_is_used():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(64, 64, generator=generator)
    assert smallest("w", weight).codec == "dense"
    pruned = weight * (torch.rand(64, 64, generator=generator) < 0.3)
    assert smallest("w", pruned).codec == "sparse"
    codes = torch.randint(0, 16, (64, 64), generator=generator, dtype=torch.uint8)
    made = Integers(codes, torch.rand(64) + 0.1, torch.full((64,), 8, dtype=torch.uint8), 4, None)
    assert smallest("w", dequantise_codes(codes, made.scale, made.zero, None), made).codec == (
        "packed int4"
    )
    codes[torch.rand(64, 64, generator=generator) < 0.9] = 8
    values = dequantise_codes(codes, made.scale, made.zero, None)
    assert smallest("w", values, made).codec == "sparse+int4"
    tiny = torch.ones(3)
    assert smallest("w", tiny).codec == "dense"
