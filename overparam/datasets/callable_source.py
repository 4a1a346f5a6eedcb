"""Samples that a user's callable returns: data sets of items, or whole arrays, made into rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overparam.datasets.chunk_rows import chunk_rows
from overparam.datasets.data_items import Array, Item, as_array, is_array, read_item
from overparam.datasets.external_shuffle import Chunk
from overparam.datasets.own_samples import TARGET, OwnSamples
from overparam.datasets.parts import TEST, check_classes, counts_of, part_codes
from overparam.study.loading import load_object


@dataclass(frozen=True)
class Part:
    """A data set of the user's, how messages name it, and the part that each item belongs to."""

    where: str
    data: Any
    codes: NDArray[np.int8]


def from_callable(source: str, *, validation: float, seed: int) -> OwnSamples:
    """See :func:`overparam.datasets.own_source.own_samples`.

    The callable returns ``(train, test)``, or a mapping with these names; a third item, ``task``,
    may be an ``overparam.training.Task``, which is left to who trains. Each part is a map-style
    ``torch.utils.data.Dataset`` (see :func:`overparam.datasets.data_items.read_item`), or a pair of
    arrays or tensors ``(x, y)``. Nothing is scaled: what the callable gives is what the model gets.
    Class names are those of ``train.classes``, where it has as many.

    Raises:
        ValueError: the callable raises or gives something else; an item unlike the first (its
            index, expected, got); NaN; labels that are not 0..C-1, or of one class; classes of the
            test part that training does not have.
        ImportError: its file or module does not import.
    """
    train, test, own_task = _called(source)
    named = [
        (f"data {source!r}: {name}", part) for name, part in (("train", train), ("test", test))
    ]
    targets = [_targets(where, data) for where, data in named]
    regression = targets[0].dtype.kind == "f"
    if (targets[1].dtype.kind == "f") != regression:
        raise ValueError(
            f"data {source!r}: targets of train are {targets[0].dtype}, of test {targets[1].dtype}"
        )
    if targets[0].shape[1:] != targets[1].shape[1:]:
        raise ValueError(
            f"data {source!r}: targets of train have shape {targets[0].shape[1:]}, of test "
            f"{targets[1].shape[1:]}"
        )
    classes = () if regression else _classes(source, train, *targets)
    codes = part_codes(
        targets[0], validation=validation, seed=seed, test=False, stratify=not regression
    )
    parts = [Part(*named[0], codes), Part(*named[1], np.full(len(test), TEST, dtype=np.int8))]
    first = read_item(parts[0].where, train, 0)
    counts = sum(counts_of(part.codes, 3) for part in parts)
    return OwnSamples(
        kind="regression" if regression else "classification",
        classes=classes,
        arrangement=first.arrangement,
        inputs=tuple(first.inputs),
        sizes=tuple(map(int, counts)),  # type: ignore[arg-type]
        seed=seed,
        chunks=partial(_chunks, parts, first, targets[0].dtype),
        own_task=own_task,
    )


def _called(source: str) -> tuple[Any, Any, bool]:
    """Training and test part, and whether a task came with them."""
    try:
        make = load_object(source)
    except ImportError as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, ImportError):
            raise
        raise ValueError(f"data {source!r} raised {type(cause).__name__}: {cause}") from cause
    if not callable(make):
        raise ValueError(f"data {source!r} is a {type(make).__name__}, not callable")
    try:
        made = make()
    except Exception as error:
        raise ValueError(f"data {source!r} raised {type(error).__name__}: {error}") from error
    if isinstance(made, Mapping):
        absent = [name for name in ("train", "test") if name not in made]
        if absent:
            raise ValueError(f"data {source!r} gave a mapping without {' and '.join(absent)}")
        made = tuple(made[name] for name in ("train", "test", "task") if name in made)
    if not (isinstance(made, Sequence) and len(made) in (2, 3)):
        raise ValueError(
            f"data {source!r} gave a {type(made).__name__}; allowed: (train, test), (train, test, "
            "task), or a mapping with these names"
        )
    train, test = (Pairs(*part) if _is_pair(part) else part for part in made[:2])
    for name, part in (("train", train), ("test", test)):
        if not (hasattr(part, "__getitem__") and hasattr(part, "__len__")):
            raise ValueError(
                f"data {source!r}: {name} is a {type(part).__name__}; allowed: a data set with "
                "len() and items, or a pair of arrays"
            )
        if not len(part):
            raise ValueError(f"data {source!r}: {name} is empty")
    return train, test, len(made) == 3 and made[2] is not None


def _is_pair(part: Any) -> bool:
    return isinstance(part, tuple | list) and len(part) == 2 and all(map(is_array, part))


@dataclass(frozen=True)
class Pairs:
    """Two arrays of one length as a data set."""

    x: Any
    y: Any

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} inputs and {len(self.y)} targets; allowed: as many")

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.x[index], self.y[index]


def _targets(where: str, data: Any) -> Array:
    """All targets of a part: (N,) whole numbers, or (N, ...) floats."""
    if isinstance(data, Pairs):
        targets = as_array(where, TARGET, data.y)
    else:
        items = [read_item(where, data, index).target for index in range(len(data))]
        for index, item in enumerate(items):
            if item.shape != items[0].shape:
                raise ValueError(
                    f"{where}[{index}] has a target of shape {item.shape}; expected "
                    f"{items[0].shape}"
                )
        targets = np.stack(items)
    if targets.dtype.kind in "biu":
        if targets.ndim != 1:
            raise ValueError(
                f"{where}: labels have shape {targets.shape}; allowed: (N,) whole numbers, or "
                "floats for a regression"
            )
        return targets.astype(np.int64)
    if not np.isfinite(targets).all():
        index = int(np.argmin(np.isfinite(targets).reshape(len(targets), -1).all(1)))
        raise ValueError(f"{where}: targets are not all finite, that of item {index} is not")
    return targets.astype(np.float32)


def _classes(source: str, train: Any, targets: Array, tested: Array) -> tuple[str, ...]:
    present, counts = np.unique(targets, return_counts=True)
    count = int(present[-1]) + 1
    if present[0] < 0 or len(present) < count / 2:
        raise ValueError(
            f"data {source!r}: labels of train are {present[:10].tolist()}; allowed: whole numbers "
            "0..C-1"
        )
    check_classes(
        present.astype(str).tolist(), counts.tolist(), f"data {source!r}: the labels of train"
    )
    unseen = np.setdiff1d(tested, present)
    if len(unseen):
        raise ValueError(
            f"data {source!r}: test has labels that train does not have: {unseen[:5].tolist()}"
        )
    names = getattr(train, "classes", None)
    if isinstance(names, Sequence) and len(names) == count:
        return tuple(map(str, names))
    return tuple(map(str, range(count)))


def _chunks(parts: list[Part], first: Item, kind: np.dtype[Any]) -> Iterator[Chunk]:
    rows = chunk_rows(sum(array.nbytes for array in first.inputs.values()))
    for part in parts:
        for start in range(0, len(part.codes), rows):
            codes = part.codes[start : start + rows]
            items = [
                read_item(part.where, part.data, index)
                for index in range(start, start + len(codes))
            ]
            for index, item in enumerate(items, start=start):
                if item.form != first.form:
                    raise ValueError(
                        f"{part.where}[{index}] has inputs {item.described()}; expected "
                        f"{first.described()}"
                    )
            columns = {
                name: np.stack([item.inputs[name] for item in items]).astype(value.dtype)
                for name, value in first.inputs.items()
            }
            for name, column in columns.items():
                finite = np.isfinite(column).reshape(len(column), -1).all(1)
                if not finite.all():
                    raise ValueError(
                        f"{part.where}[{start + int(np.argmin(finite))}]: {name} is not finite"
                    )
            targets = np.stack([item.target for item in items]).astype(kind)
            yield {**columns, TARGET: targets}, codes
