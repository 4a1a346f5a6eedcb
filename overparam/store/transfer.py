"""Weights from and to safetensors files, the form in which other programs read them."""

import os
from typing import TYPE_CHECKING

from overparam.store.weights import Weights

if TYPE_CHECKING:
    from overparam.store.tables import Tables


def export_safetensors(
    tables: "Tables",
    name: str,
    path: str | os.PathLike[str],
    **cell: str | int | float | bool,
) -> None:
    """Write one model's tensors to a safetensors file.

    Args:
        tables: has the table.
        name: of a table written from `Weights`.
        path: of the file, replaced if it exists.
        cell: which model, as for `Tables.weights`.

    Raises:
        ValueError: no model, or more than one, fits `cell`.
    """
    from safetensors.torch import save_file

    save_file(tables.weights(name, **cell), path)


def import_safetensors(path: str | os.PathLike[str]) -> Weights:
    """The tensors of a safetensors file as weights that a step can return.

    Raises:
        ValueError: the file isn't safetensors.
        TypeError: a tensor of a type that the store doesn't hold, by name.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return Weights(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} is not a safetensors file: {error}") from None
