"""Corruptions of images."""

import numpy as np
import pytest
import torch

from overparam.datasets import CORRUPTIONS, corrupt, corrupted_members, digit_target


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corruptions_grow_with_the_level(kind):
    x = digit_target("parity", seed=0).test.x
    changes = [np.abs(corrupt(x, kind, level, seed=0) - x).mean() for level in (1, 2, 3)]
    assert 0 < changes[0] < changes[1] < changes[2]
    assert np.array_equal(corrupt(x, kind, 2, seed=5), corrupt(x, kind, 2, seed=5))


def test_corruptions_in_closed_form():
    x = digit_target("parity", seed=0).test.x
    faded = corrupt(x, "contrast", 2, seed=0)
    assert np.allclose(faded.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-6)
    assert np.allclose(faded.std((1, 2, 3)), 0.35 * x.std((1, 2, 3)), atol=1e-6)
    assert np.isclose((corrupt(x, "noise", 1, seed=0) - x).std(), 0.1, rtol=0.02)
    moved = corrupt(x, "shift", 2, seed=0)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    candidates = [
        padded[:, :, 2 + dy : 10 + dy, 2 + dx : 10 + dx]
        for dy, dx in ((2, 0), (-2, 0), (0, 2), (0, -2))
    ]
    matches = np.stack([(moved == c).all((1, 2, 3)) for c in candidates])
    assert matches.any(0).all()
    assert (matches.sum(1) > len(x) / 8).all()


def test_members_are_corrupted_each_by_its_own_seed():
    x = torch.from_numpy(digit_target("parity", seed=0).test.x[:40]).reshape(2, 20, 1, 8, 8)
    found = corrupted_members(x, (3, 8))
    assert list(found) == [(kind, level) for kind in CORRUPTIONS for level in (1, 2, 3)]
    for (kind, level), images in found.items():
        assert images.dtype == torch.float32
        for member, plain, seed in zip(images, x, (3, 8), strict=True):
            assert np.array_equal(member.numpy(), corrupt(plain.numpy(), kind, level, seed=seed))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corrupt(np.zeros((1, 1, 8, 8), np.float32), "fog", 1, seed=0), "fog"),
        (lambda: corrupt(np.zeros((1, 1, 8, 8), np.float32), "noise", 4, seed=0), "level"),
        (lambda: corrupted_members(torch.zeros(2, 1, 1, 8, 8), (0,)), "1 entries"),
        (lambda: corrupt(np.zeros((8, 8), np.float32), "noise", 1, seed=0), "N, C, H, W"),
    ],
)
def test_unusable_requests(call, message):
    with pytest.raises(ValueError, match=message):
        call()
