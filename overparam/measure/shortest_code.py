"""The shortest code of the labels among several precisions of one model."""

import pandas as pd


def shortest_code(
    codes: pd.DataFrame,
    performance: str,
    *,
    by: str = "lr",
    exact_bits: int = 32,
    keep: float = 0.99,
) -> pd.Series:
    """Bits of each seed's shortest code that keeps a share of the exact model's performance.

    Args:
        codes: a row per precision of a trained model, with columns seed, ``by``, bits (of a
            coordinate), ``performance`` and mdl_bits (of the whole code).
        by: what tells apart several models of a seed.
        exact_bits: the precision at which nothing is lost.
        keep: the share of that performance which a code must keep.

    Returns:
        Bits by seed; a seed of which no code keeps enough is left out.

    Example:
        >>> codes = pd.DataFrame({"seed": 0, "lr": 0.1, "bits": [32, 8, 4],
        ...                       "acc": [0.9, 0.9, 0.5], "mdl_bits": [900, 300, 200]})
        >>> shortest_code(codes, "acc").to_dict()
        {0: 300}
    """
    models = ["seed", by]
    full = codes[codes["bits"] == exact_bits].set_index(models)[performance]
    kept = codes.set_index(models).join(full.rename("full"))
    enough = kept[performance] >= keep * kept["full"]
    return kept[enough].groupby("seed")["mdl_bits"].min()
