"""The transfer suite from digits."""

import numpy as np
import pytest

from overparam.datasets import (
    TARGETS,
    digit_source,
    digit_target,
    digits,
    dihedral,
    mnist1d,
    own_target,
    signal_target,
)


def rows(x):
    return {image.tobytes() for image in np.ascontiguousarray(x, dtype=np.float32)}


def test_dihedral_is_the_whole_group():
    x = np.random.default_rng(0).random((2, 1, 4, 4))
    turned = dihedral(x)
    assert turned.shape == (8, 2, 1, 4, 4)
    assert len({image.tobytes() for image in turned[:, 0]}) == 8
    again = dihedral(turned[5, :1])
    assert {i.tobytes() for i in again[:, 0]} == {i.tobytes() for i in turned[:, 0]}
    assert np.array_equal(turned[0], x)
    assert np.array_equal(turned[1, 0, 0], np.rot90(x[0, 0]))


def test_source_has_eighty_balanced_classes():
    source = digit_source(seed=3)
    assert source.train.x.shape == (7200, 1, 8, 8)
    assert source.test.x.shape == (897 * 8, 1, 8, 8)
    assert source.train.x.dtype == np.float32
    assert (source.train.x.min(), source.train.x.max()) == (0, 1)
    counts = np.bincount(source.train.y)
    assert len(counts) == 80
    assert counts.min() >= 85
    first, turned = source.train.x[5], source.train.x[900 + 5]
    assert np.array_equal(turned[0], np.rot90(first[0]))
    assert source.train.y[905] == 10 + source.train.y[5]


def test_targets_and_source_share_no_digit_and_cover_all():
    source = digit_source(seed=1)
    target = digit_target("parity", seed=1)
    parts = [source.train.x[:900], target.train.x, target.val.x, target.test.x]
    assert [len(part) for part in parts] == [900, 200, 200, 497]
    together = np.concatenate([part.reshape(len(part), 64) for part in parts])
    original = digits().x / 16
    assert np.array_equal(np.sort(together, axis=0), np.sort(original, axis=0))
    assert rows(np.concatenate(parts)) == rows(original.reshape(-1, 1, 8, 8))


@pytest.mark.parametrize("name", TARGETS)
def test_target_sizes_and_determinism(name):
    task = digit_target(name, n_train=60, seed=2)
    assert (len(task.train.y), len(task.val.y), len(task.test.y)) == (60, 200, 497)
    assert set(task.train.y) == set(range(task.classes))
    assert task.train.x.dtype == np.float32
    again = digit_target(name, n_train=60, seed=2)
    assert np.array_equal(task.test.x, again.test.x)
    assert not np.array_equal(task.test.x, digit_target(name, n_train=60, seed=3).test.x)
    large = digit_target(name, n_train=200, seed=2)
    assert np.array_equal(task.test.x, large.test.x)
    assert rows(task.train.x) <= rows(large.train.x)


def test_transformations():
    plain = digit_target("parity", seed=0).test
    label = digit_target("inverted", seed=0).test.y
    assert np.array_equal(plain.y, label % 2)
    x = {name: digit_target(name, seed=0).test.x for name in TARGETS}
    assert np.allclose(x["inverted"], 1 - plain.x)
    assert np.allclose(x["inverted"] + plain.x, 1)
    gains = x["row-gain"].sum((0, 1, 3)) / plain.x.sum((0, 1, 3))
    assert np.isclose(gains.max() / gains.min(), 10, rtol=1e-3)
    permuted = x["column-permutation"]
    assert np.array_equal(np.sort(permuted, axis=-1), np.sort(plain.x, axis=-1))
    assert all((permuted[..., i] != plain.x[..., i]).any() for i in range(8))
    board = np.abs(x["checkerboard"] - plain.x) < 1e-6
    binary = (plain.x == 0) | (plain.x == 1)
    on = np.indices((8, 8)).sum(0) % 2 == 0
    assert board[..., on].all()
    assert np.allclose(x["checkerboard"][..., ~on], 1 - plain.x[..., ~on])
    assert binary.any()
    noise = x["blurred-noise"]
    residual = noise.mean() - plain.x.mean()
    assert abs(residual) < 0.02
    assert np.diff(noise, axis=-1).std() < np.diff(plain.x, axis=-1).std()


def test_the_digits_are_those_of_the_file(tmp_path):
    """Another file, of the same digits turned around, is another source and another target."""
    plain, file = digits(), tmp_path / "digits.csv"
    rows = np.column_stack([16 - plain.x, plain.y])[::-1]
    np.savetxt(file, rows, fmt="%d", delimiter=",")
    mine = digits(file)
    for make in (
        lambda file=None: digit_source(5, file),
        lambda file=None: digit_target("parity", seed=5, file=file),
        lambda file=None: digit_target("blurred-noise", n_train=60, seed=5, file=file),
    ):
        parts, own = make().parts, make(file).parts
        assert {n: p.x.shape for n, p in parts.items()} == {n: p.x.shape for n, p in own.items()}
        assert not any(np.array_equal(parts[name].x, own[name].x) for name in parts)
    seen = {image.tobytes() for image in (mine.x / 16).astype(np.float32)}
    assert {x.tobytes() for x in digit_target("parity", seed=5, file=file).test.x} <= seen


def test_parts_are_named():
    source, target = digit_source(0), signal_target(n_train=10, seed=0)
    assert list(source.parts) == ["train", "test"] and source.parts["test"] is source.test
    assert list(target.parts) == ["train", "val", "test"] and target.parts["val"] is target.val


def test_signals_are_mnist1d_row_by_row():
    small, large = (signal_target(n_train=n, seed=4) for n in (60, 200))
    assert [len(p.y) for p in (small.train, small.val, small.test)] == [60, 200, 497]
    assert np.array_equal(small.train.x, large.train.x[:60])
    assert np.array_equal(small.test.x, large.test.x)
    reference = mnist1d(200, 697, length=64, seed=4)
    assert np.array_equal(large.test.x[0, 0, 1], reference.x_test[200, 8:16])


def test_own_data(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random((40, 3, 5, 6))
    labels = rng.choice([3, 7], 40)
    np.savez(tmp_path / "pets.npz", x=images, y=labels)
    task = own_target(tmp_path / "pets.npz", n_train=20, n_val=10, seed=0)
    assert (task.name, task.classes) == ("pets", 2)
    parts = (task.train, task.val, task.test)
    assert [len(p.y) for p in parts] == [20, 10, 10]
    pairs = zip(images.astype(np.float32), labels, strict=True)
    known = {x.tobytes(): int(label == 7) for x, label in pairs}
    assert len({x.tobytes() for p in parts for x in p.x}) == 40
    for part in parts:
        assert all(known[x.tobytes()] == y for x, y in zip(part.x, part.y, strict=True))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 1, 2, 2))}, "'y'"),
        ({"x": np.zeros((4, 2, 2)), "y": np.arange(4)}, "N, C, H, W"),
        ({"x": np.full((4, 1, 2, 2), np.nan), "y": np.arange(4)}, "NaN"),
        ({"x": np.zeros((4, 1, 2, 2)), "y": np.arange(4)}, "sizes"),
        ({"x": np.zeros((4, 1, 2, 2)), "y": np.array([None] * 4)}, "allow_pickle"),
    ],
)
def test_own_data_that_is_unusable(tmp_path, arrays, message):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        own_target(tmp_path / "own.npz", n_train=3, n_val=3, seed=0)


def test_own_images_must_be_what_the_network_takes(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.zeros((40, 3, 5, 6)), y=np.arange(40) % 2)
    sizes = {"n_train": 20, "n_val": 10, "seed": 0}
    assert own_target(tmp_path / "own.npz", **sizes, shape=(3, 5, 6)).classes == 2
    with pytest.raises(ValueError, match=r"own.npz: images are \(3, 5, 6\); the network takes"):
        own_target(tmp_path / "own.npz", **sizes, shape=(1, 8, 8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: digit_target("rotated", seed=0), "'rotated'"),
        (lambda: digit_target("parity", n_train=5, seed=0), r"10\.\.200"),
        (lambda: digit_target("parity", n_train=201, seed=0), r"10\.\.200"),
        (lambda: signal_target(n_train=5, seed=0), r"10\.\.200"),
        (lambda: digit_source(seed=-1), "seed"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
