"""Inner channels of the feed-forward blocks of a transformer."""

from collections.abc import Iterable

from torch import nn

from overparam.compress.attention_heads import attention_cores
from overparam.compress.dependency_graph import Candidate, Stream, Traced


def inner_groups(
    traced: Traced, candidates: Iterable[Candidate], streams: Iterable[Stream]
) -> list[Candidate]:
    """Groups inside of the feed-forward blocks of a transformer.

    What writes them reads what an attention reads or writes, and what reads them writes there.
    """
    names = {module: name for name, module in traced.model.named_modules()}
    marks = {
        (name, "both")
        for module, name in names.items()
        if isinstance(module, nn.MultiheadAttention)
    }
    for projection, feeding in attention_cores(traced).items():
        marks |= {(names[projection], "out"), *((names[layer], "in") for layer in feeding)}
    residual: set[tuple[str, str]] = set()
    for stream in streams:
        if stream & marks:
            residual |= stream
    inner = []
    for candidate in candidates:
        group = candidate.group
        between = {*((w, "in") for w in group.writers), *((r, "out") for r in group.readers)}
        own = {(axis.layer, axis.side) for axis in group.axes}
        if group.kind == "channels" and between <= residual and not own & residual:
            inner.append(candidate)
    return inner
