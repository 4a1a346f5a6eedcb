import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.compress.hashing import (
    PRIME,
    hash_coefficients,
    rps_mapping,
    universal_hash,
    virtual_layout,
)


@given(
    numbers=st.lists(st.integers(0, 2**62), min_size=1, max_size=20),
    seed=st.integers(0, 2**31),
    m=st.integers(1, PRIME),
)
@settings(max_examples=60, deadline=None)
def test_universal_hash_equals_unbounded_integers(numbers, seed, m):
    r0, r1, r2 = hash_coefficients(seed)[0].tolist()
    expected = [((a * r0 + a * a * r1 + r2) % PRIME) % m for a in numbers]
    assert universal_hash(torch.tensor(numbers), torch.tensor([r0, r1, r2]), m).tolist() == expected


def test_coefficients_are_odd_below_the_prime_and_follow_the_seed():
    coefficients = hash_coefficients(3)
    assert (coefficients % 2 == 1).all() and (coefficients < PRIME).all()
    assert torch.equal(coefficients, hash_coefficients(3))
    assert not torch.equal(coefficients, hash_coefficients(4))


@given(n=st.integers(1, 3000), m=st.integers(1, 3000), seed=st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_randomfold_loads_are_optimal_and_pieces_never_collide(n, m, seed):
    index = rps_mapping("randomfold", n, m, seed)
    loads = index.bincount(minlength=m)
    assert len(loads) == m
    if n >= m:
        assert int(loads.max() - loads.min()) <= (0 if n % m == 0 else 1)
        assert int(loads.min()) == n // m
    for piece in index.split(m):
        assert len(piece.unique()) == len(piece)


def test_randomfold_is_a_cyclic_shift_per_piece():
    n, m, seed = 50, 12, 5
    r0, r1, r2 = hash_coefficients(seed)[0].tolist()
    expected = []
    for i in range(n):
        piece = i // m
        shift = ((piece * r0 + piece * piece * r1 + r2) % PRIME) % m
        expected.append((shift + i % m) % m)
    assert rps_mapping("randomfold", n, m, seed).tolist() == expected


def test_hashed_hashes_every_index_alone():
    r0, r1, r2 = hash_coefficients(9)[0].tolist()
    expected = [((i * r0 + i * i * r1 + r2) % PRIME) % 17 for i in range(100)]
    assert rps_mapping("hashed", 100, 17, 9).tolist() == expected


def test_roast_lays_every_tile_contiguously():
    shapes, m, seed, (height, width) = [(7, 5), (4, 6)], 40, 2, (3, 2)
    r0, r1, r2 = hash_coefficients(seed)[0].tolist()
    expected, number = [], 0
    for rows, columns in shapes:
        across = -(-columns // width)
        table = torch.full((rows, columns), -1)
        for r in range(0, rows, height):
            for c in range(0, columns, width):
                t = number + (r // height) * across + c // width
                start = ((t * r0 + t * t * r1 + r2) % PRIME) % (m - height * width + 1)
                for i in range(r, min(r + height, rows)):
                    for j in range(c, min(c + width, columns)):
                        table[i, j] = start + (i - r) * width + (j - c)
        number += -(-rows // height) * across
        expected += table.flatten().tolist()
    index = rps_mapping("roast", 59, m, seed, tile=(height, width), shapes=shapes)
    assert index.tolist() == expected
    assert set(expected) <= set(range(m))


def test_roast_cuts_tables_and_vectors_into_chunks():
    layout = virtual_layout("roast", 100, [(4, 10), (4, 10)], tile=(2, 5), tables=[True, False])
    assert layout.tiles == ((1, 5), (2, 5))
    chunks = layout.index(0, hash_coefficients(0)).view(8, 5)
    assert (chunks.diff(dim=1) == 1).all()
    chunks = rps_mapping("roast", 20, 30, 0, tile=4).view(5, 4)
    assert (chunks.diff(dim=1) == 1).all()


@pytest.mark.parametrize(("kind", "low", "high"), [("roast", 0.3, 0.45), ("hashed", 0.33, 0.4)])
def test_random_maps_leave_a_third_of_the_buckets_empty_at_1x(kind, low, high):
    shapes = [(256, 64), (256, 256), (10, 256)]
    n = sum(a * b for a, b in shapes)
    empty = [
        float(
            (rps_mapping(kind, n, n, seed, shapes=shapes).bincount(minlength=n) == 0)
            .double()
            .mean()
        )
        for seed in range(5)
    ]
    mean = sum(empty) / 5
    assert low < mean < high


def test_signs_are_fair_and_independent_of_the_location():
    layout = virtual_layout("randomfold", 1000, [(100, 200)])
    signs = layout.signs(0, hash_coefficients(1))
    assert set(signs.tolist()) == {-1, 1}
    assert abs(float(signs.double().mean())) < 0.03
    per_bucket = torch.zeros(1000, dtype=torch.int64).index_add(
        0, layout.index(0, hash_coefficients(1)), signs
    )
    assert abs(float(per_bucket.double().square().mean()) - 20) < 3


def test_int64_arithmetic_holds_for_positions_far_beyond_the_official_overflow():
    layout = virtual_layout("hashed", 1000, [(2**31,), (5,)])
    r0, r1, r2 = hash_coefficients(0)[0].tolist()
    expected = [((a * r0 + a * a * r1 + r2) % PRIME) % 1000 for a in range(2**31, 2**31 + 5)]
    assert layout.index(1, hash_coefficients(0)).tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "md5", "n": 4, "m": 2}, "md5.*randomfold"),
        ({"kind": "hashed", "n": 0, "m": 2}, "n is 0"),
        ({"kind": "hashed", "n": 4, "m": 0}, "m is 0"),
        ({"kind": "hashed", "n": 4, "m": PRIME}, "m is"),
        ({"kind": "roast", "n": 4096, "m": 500, "shapes": [(64, 64)]}, r"\(32, 32\).*m = 500"),
        ({"kind": "roast", "n": 40, "m": 30, "tile": (0, 3)}, "positive"),
        ({"kind": "hashed", "n": 40, "m": 30, "tile": 4}, "tile is 4"),
        ({"kind": "hashed", "n": 40, "m": 30, "shapes": [(3, 3)]}, "9 entries"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        rps_mapping(seed=0, **arguments)


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_bad_seed(seed, error):
    with pytest.raises(error, match="seed"):
        hash_coefficients(seed)
