from math import comb, log2

import pytest

from overparam.compress import index_bits, index_bits_per_weight, sparse_bits


@pytest.mark.parametrize("n", [1, 2, 7, 64, 500])
def test_optimal_code_against_integers(n):
    for k in range(n + 1):
        assert index_bits(n, k) == pytest.approx(log2(comb(n, k)), rel=1e-12, abs=1e-12)


def test_large_counts():
    assert index_bits(84480, 168) == pytest.approx(log2(comb(84480, 168)), rel=1e-10)
    assert index_bits_per_weight(84480, 168) == pytest.approx(10.38, abs=0.05)
    assert index_bits(10**9, 1) == pytest.approx(log2(10**9), rel=1e-6)


def test_optimal_is_never_worse_than_a_practical_code():
    for k in (0, 1, 5, 50, 99, 100):
        assert index_bits(100, k) <= index_bits(100, k, "bitmap") == 100
        assert index_bits(100, k) <= index_bits(100, k, "coordinate") or k == 0
    assert index_bits(100, 3, "coordinate") == 21
    assert sparse_bits(100, 3, 16, "bitmap") == 148


def test_bad_input():
    with pytest.raises(ValueError, match="k is 5"):
        index_bits(4, 5)
    with pytest.raises(ValueError, match="huffman"):
        index_bits(4, 2, "huffman")
    with pytest.raises(ValueError, match="k is 0"):
        index_bits_per_weight(4, 0)
