"""Where the user's samples come from: a Parquet file, or a callable."""

from pathlib import Path

from overparam.datasets.callable_source import from_callable
from overparam.datasets.own_samples import OwnSamples
from overparam.datasets.parquet_source import from_parquet


def own_samples(
    source: str | Path,
    *,
    test: str | Path | None = None,
    label: str | None = None,
    shape: tuple[int, ...] | None = None,
    standardize: bool = True,
    validation: float = 0.15,
    seed: int = 0,
) -> OwnSamples:
    """Read and check the user's samples.

    Args:
        source: a Parquet file, or ``file.py:callable`` / ``package.module:callable`` (whose code is
            run) that returns a train and a test data set.
        test: a Parquet file of test samples; left out, a fifth of the source, stratified.
        label: column of the label; left out, it is found: the one named label, target, class or y,
            the only column that is not numeric, or the only one beside a tensor column.
        shape: of one input, where the source is a tensor column that does not say it.
        standardize: give a Parquet file's features mean 0 and deviation 1 each, and the numbers of
            a tensor column together, as measured on the training part; constant ones become 0.
            ``False`` is for a model whose weights expect the numbers as they are, and for tokens:
            features and floats as float32, whole numbers of a tensor column as int64. What a
            callable gives is never changed.
        validation: share of the training samples set aside, stratified.
        seed: of splits and order.

    Raises:
        FileNotFoundError: a file is missing.
        ImportError: the callable's file or module does not import.
        ValueError: names the file, the column, the value and what is allowed.
    """
    if not 0 < validation < 1:
        raise ValueError(f"validation is {validation}; allowed: a share between 0 and 1")
    if isinstance(source, str) and ":" in Path(source).name and not Path(source).is_file():
        return from_callable(source, validation=validation, seed=seed)
    return from_parquet(
        Path(source),
        test=None if test is None else Path(test),
        label=label,
        shape=shape,
        standardize=standardize,
        validation=validation,
        seed=seed,
    )
