"""Is a merged model really the original network? Modules, parameters, outputs, time."""

from __future__ import annotations

import copy

import pandas as pd
import torch
from torch import Tensor, nn

from overparam.adapt.merge import merge_ssf
from overparam.measure import latency_ratio


def merge_parity(base: nn.Module, tuned: nn.Module, x: Tensor, *, timed: int = 30) -> pd.DataFrame:
    """Compare a network with pairs, merged and unmerged, with the network before the pairs.

    Lian et al. 2022, section 3.3: after folding, architecture, parameters and inference time are
    those of the original.

    Args:
        base: the model before ``inject_ssf``, with a head like that of ``tuned``.
        tuned: the model with pairs, in eval mode.
        x: inputs (B, ...); outputs are compared on all, the first 64 are timed.
        timed: pairs of calls that are timed in turns.

    Returns:
        Rows for ``form`` "merged" and "unmerged" (``tuned`` as it is): max_abs_diff of outputs to
        those of ``tuned``, and max_abs_diff_float64 when both folding and outputs are computed in
        float64; params_before (``base``), params_after, created (parameters of biases and affine
        parts that ``base`` lacks); other_modules (names that are missing, new, or of another
        class); ms_before, ms_after and latency_ratio, medians that vary from run to run.

    Raises:
        ValueError, RuntimeError: what ``merge_ssf`` refuses.
    """
    known = {name: parameter.numel() for name, parameter in base.named_parameters()}
    double = copy.deepcopy(tuned).double()
    rows = []
    for form, merge in (("merged", True), ("unmerged", False)):
        net = merge_ssf(tuned) if merge else tuned
        exact = merge_ssf(double) if merge else double
        new = {n: p.numel() for n, p in net.named_parameters() if n not in known}
        created = [k for n, k in new.items() if n.rpartition(".")[2] in ("weight", "bias")]
        kinds, others = ({(n, type(m)) for n, m in net_.named_modules()} for net_ in (base, net))
        time = latency_ratio(net, base, x[:64], pairs=timed)
        rows.append(
            {
                "form": form,
                "max_abs_diff": _largest_difference(net, tuned, x),
                "max_abs_diff_float64": _largest_difference(exact, double, x.double()),
                "params_before": sum(known.values()),
                "params_after": sum(p.numel() for p in net.parameters()),
                "created": sum(created),
                "other_modules": len({name for name, _ in kinds ^ others}),
                "ms_before": time.baseline_ms,
                "ms_after": time.candidate_ms,
                "latency_ratio": time.ratio,
            }
        )
    return pd.DataFrame(rows)


@torch.no_grad()
def _largest_difference(net: nn.Module, other: nn.Module, x: Tensor) -> float:
    return float((net(x) - other(x)).abs().max())
