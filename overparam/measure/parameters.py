"""How many parameters a model has, and how many of them a method trains."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd
from torch import nn


@dataclass(frozen=True)
class ParamReport:
    """Parameter counts of a model; a shared tensor counts once.

    Attributes:
        total: all parameters.
        trainable: those that require gradients.
        backbone: neither added by a method nor part of the head.
        head: parameters of the head.
        added: parameters that a tuning method added.
        tuned: trainable parameters outside the head.
        bytes: memory of all parameters.
        table: one row per tensor: `name, part, shape, parameters, trainable, bytes`.
    """

    total: int
    trainable: int
    backbone: int
    head: int
    added: int
    tuned: int
    bytes: int
    table: pd.DataFrame

    @property
    def share(self) -> float:
        """`tuned / backbone`: the price of a method, head left out of both (NaN without one)."""
        return self.tuned / self.backbone if self.backbone else float("nan")


def param_report(
    model: nn.Module, *, head: str | Collection[str] = (), added: Collection[str] = ()
) -> ParamReport:
    """Count a model's parameters by part.

    Works on the meta device, so that the cost of a method on a large model is known without its
    weights.

    Args:
        model: the network.
        head: name or names of the modules that make up the head.
        added: names of the children that a tuning method added, anywhere in the model (a part of
            the dotted name, for instance `"ssf"`).

    Raises:
        ValueError: a head name is no module of the model.
    """
    heads = (head,) if isinstance(head, str) else tuple(head)
    known = dict(model.named_modules())
    for name in heads:
        if name not in known or not name:
            raise ValueError(f"head={name!r} names no module of {type(model).__name__}")
    added_names = {added} if isinstance(added, str) else set(added)
    rows = [
        {
            "name": name,
            "part": _part(name, heads, added_names),
            "shape": tuple(parameter.shape),
            "parameters": parameter.numel(),
            "trainable": parameter.requires_grad,
            "bytes": parameter.numel() * parameter.element_size(),
        }
        for name, parameter in model.named_parameters()
    ]
    columns = ["name", "part", "shape", "parameters", "trainable", "bytes"]
    table = pd.DataFrame(rows, columns=columns)
    count = table["parameters"]
    trains = table["trainable"].astype(bool)

    def of(part: str) -> int:
        return int(count[table["part"] == part].sum())

    return ParamReport(
        total=int(count.sum()),
        trainable=int(count[trains].sum()),
        backbone=of("backbone"),
        head=of("head"),
        added=of("added"),
        tuned=int(count[trains & (table["part"] != "head")].sum()),
        bytes=int(table["bytes"].sum()),
        table=table,
    )


def _part(name: str, heads: Collection[str], added: Collection[str]) -> str:
    if any(name.startswith(f"{head}.") for head in heads):
        return "head"
    return "added" if any(piece in added for piece in name.split(".")) else "backbone"
