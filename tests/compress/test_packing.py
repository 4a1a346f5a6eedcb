import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overparam.compress import pack_bits, unpack_bits


@st.composite
def streams(draw):
    bits = draw(st.integers(2, 8))
    codes = draw(st.lists(st.integers(0, 2**bits - 1), max_size=70))
    return bits, torch.tensor(codes, dtype=torch.uint8)


@given(streams())
def test_unpacking_is_the_exact_inverse(stream):
    bits, codes = stream
    packed = pack_bits(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (-(-len(codes) * bits // 8),)
    assert torch.equal(unpack_bits(packed, bits, len(codes)), codes)


@given(streams())
def test_bytes_equal_numpys_bit_stream(stream):
    bits, codes = stream
    planes = np.unpackbits(codes.numpy()[:, None], axis=1, count=bits, bitorder="little")
    expected = np.packbits(planes.ravel(), bitorder="little")
    assert pack_bits(codes, bits).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integer_type_and_shape_is_read_row_by_row(dtype):
    codes = torch.arange(30).remainder(8).view(2, 3, 5).to(dtype)
    packed = pack_bits(codes, 3)
    assert unpack_bits(packed, 3, 30).tolist() == codes.flatten().tolist()


def test_packed_bytes_own_their_memory():
    # A view of a longer buffer would be saved with all of it.
    packed = pack_bits(torch.ones(3, dtype=torch.uint8), 4)
    assert packed.untyped_storage().nbytes() == packed.numel()
    assert unpack_bits(packed, 4, 3).untyped_storage().nbytes() == 3


@pytest.mark.parametrize("bits", [1, 9, 0, -4, 4.0, True])
def test_bits_outside_of_two_to_eight_are_refused(bits):
    with pytest.raises(ValueError, match=r"bits is .*allowed are 2\.\.8"):
        pack_bits(torch.zeros(3, dtype=torch.uint8), bits)
    with pytest.raises(ValueError, match=r"bits is .*allowed are 2\.\.8"):
        unpack_bits(torch.zeros(3, dtype=torch.uint8), bits, 3)


@pytest.mark.parametrize("codes", [torch.tensor([0, 16]), torch.tensor([-1, 3])])
def test_codes_that_need_more_bits_are_refused(codes):
    with pytest.raises(ValueError, match=r"allowed with 4 bits are 0\.\.15"):
        pack_bits(codes, 4)


def test_what_is_no_integer_is_refused():
    for codes in (torch.zeros(3), torch.zeros(3, dtype=torch.bool)):
        with pytest.raises(TypeError, match="allowed are integers"):
            pack_bits(codes, 4)
    with pytest.raises(TypeError, match=r"allowed torch\.uint8"):
        unpack_bits(torch.zeros(3, dtype=torch.int64), 4, 6)


@pytest.mark.parametrize("count", [4, 7, -1])
def test_a_count_that_does_not_fit_the_bytes_is_refused(count):
    with pytest.raises(ValueError, match="codes of 4 bits take"):
        unpack_bits(torch.zeros(3, dtype=torch.uint8), 4, count)
