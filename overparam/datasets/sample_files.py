"""The committed samples: small files with a card each, in a checkout and in the wheel."""

from pathlib import Path

SAMPLES = ("digits", "breast-cancer")


def sample_file(name: str) -> Path:
    """The Parquet file of a sample.

    Raises:
        ValueError: there is no such sample; those there are, are listed.
    """
    if name not in SAMPLES:
        raise ValueError(f"sample {name!r}; allowed: {', '.join(SAMPLES)}")
    package = Path(__file__).parent.parent
    in_checkout = package.parent / "data" / "samples" / f"{name}.parquet"
    if in_checkout.is_file():
        return in_checkout
    return package / "_data" / "samples" / f"{name}.parquet"
