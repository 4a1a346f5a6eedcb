"""Shuffling through files: every row once, in its part, every order as likely as any other."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from overparam.datasets import external_shuffle
from overparam.datasets.external_shuffle import shuffled_parts


def chunks(sizes, parts=2):
    """Rows 0, 1, 2, ...; part i mod ``parts``."""
    start = 0
    for size in sizes:
        rows = np.arange(start, start + size)
        start += size
        yield {"x": np.stack([rows, -rows], 1).astype(np.float32), "y": rows}, rows % parts


def read(shuffled, part):
    return list(shuffled.read(part, 4))


def test_rows_stay_whole_and_come_once(monkeypatch):
    monkeypatch.setattr(external_shuffle, "SHARD_BYTES", 100)
    made = shuffled_parts(chunks([7, 1, 90, 2]), 2, 100, seed=3)
    assert made.shards == 16
    for part in (0, 1):
        pieces = read(made, part)
        assert len(pieces) > 3 and all(piece["x"].dtype == np.float32 for piece in pieces)
        y = np.concatenate([piece["y"] for piece in pieces])
        assert sorted(y) == list(range(part, 100, 2))
        x = np.concatenate([piece["x"] for piece in pieces])
        assert np.array_equal(x, np.stack([y, -y], 1))
        again = np.concatenate([piece["y"] for piece in read(made, part)])
        assert np.array_equal(y, again)


def test_a_negative_part_leaves_rows_out():
    given = (({"y": np.arange(6)}, np.array([0, -1, 0, -2, 0, 0])) for _ in range(1))
    (piece,) = read(shuffled_parts(given, 1, 6, seed=0), 0)
    assert sorted(piece["y"]) == [0, 2, 4, 5]


def test_there_are_never_more_files_than_allowed(monkeypatch):
    monkeypatch.setattr(external_shuffle, "SHARD_BYTES", 1)
    monkeypatch.setattr(external_shuffle, "SHARDS", 5)
    assert shuffled_parts(chunks([50]), 2, 50, seed=0).shards == 5


def test_all_orders_are_equally_likely(monkeypatch):
    """The 24 orders of four rows over 720 seeds, scattered to two shards: chi-squared."""
    monkeypatch.setattr(external_shuffle, "SHARD_BYTES", 34)
    found = Counter()
    for seed in range(720):
        made = shuffled_parts(chunks([2, 2], parts=1), 1, 4, seed)
        assert made.shards == 2
        found[tuple(np.concatenate([piece["y"] for piece in read(made, 0)]).tolist())] += 1
    counts = [found[order] for order in itertools.permutations(range(4))]
    assert sum(counts) == 720 and chisquare(counts).pvalue > 1e-3


def test_nothing_to_shuffle():
    with pytest.raises(ValueError, match="no rows to shuffle"):
        shuffled_parts(iter(()), 1, 0, seed=0)


def test_the_files_go_with_the_object():
    made = shuffled_parts(chunks([10]), 2, 10, seed=0)
    folder = made.folder.name
    made.folder.cleanup()
    with pytest.raises(FileNotFoundError, match=folder):
        read(made, 0)
