r"""Randomized parameter sharing: a model whose weights are views on one short vector.

Desai & Shrivastava, *In defense of parameter sharing for model-compression* (ICLR 2024, arXiv
2310.11611). Virtual weight i of layer l is :math:`w_i = \lambda_l\, g_i\, z_{h(i)}` with a
trainable :math:`z \in R^m`, a map h and signs g that follow from a seed, and a scale per layer.
HashedNet, ROAST and STABLE-RPS differ in h (:mod:`overparam.compress.hashing`) and in the scaling
of the gradient (:mod:`overparam.compress.grad_scale`).
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from math import isfinite, sqrt

import torch
from torch import Tensor, nn

from overparam.compress.grad_scale import check_grad_scale
from overparam.compress.hashing import hash_coefficients, virtual_layout
from overparam.compress.masked_weight import MaskedWeight
from overparam.compress.shared_model import SharedModel
from overparam.compress.weights import WeightSlot, compressible_weights

LAM_CONVENTIONS = ("true_std", "official")


def share_parameters(
    model: nn.Module,
    compression: float,
    *,
    seed: int,
    mapping: str = "randomfold",
    tile: int | tuple[int, int] | None = None,
    init_scale: float = 0.04,
    lam_convention: str = "true_std",
    grad_scale: str = "v1",
    guard: str = "relative",
    sign: bool = True,
    min_params: int = 0,
    skip: Iterable[str] = (),
    cache_index: bool = True,
) -> SharedModel:
    r"""A copy of ``model`` whose n compressible weights share m = int(n / compression) numbers.

    z is drawn from U(-s, s) with s = ``init_scale``; lambda of a layer is the standard deviation of
    its present weights divided by that of z, so every layer starts with the variance its own
    initialiser gave it. Biases and norms are copied. The defaults are STABLE-RPS; HashedNet is
    ``mapping="hashed"``, ROAST ``mapping="roast", grad_scale="none"``.

    The gradient scaling is applied by :func:`attach_gradient_scaling` (torch optimisers) or
    :class:`GradientScaling` (callback of :func:`overparam.training.fit`).

    Args:
        model: the dense network, freshly initialised; it is not changed.
        compression: c >= 1, virtual weights per real weight.
        seed: of z, the map and the signs.
        mapping: ``"hashed"``, ``"roast"`` or ``"randomfold"``.
        tile: tile size of ``roast``, (32, 32) by default.
        init_scale: s > 0.
        lam_convention: ``"true_std"`` divides by s/sqrt(3), the standard deviation of z;
            ``"official"`` by s, as the published code does: its layers start sqrt(3) times
            narrower.
        grad_scale: mode of :func:`rps_grad_scale`.
        guard: guard of :func:`rps_grad_scale`.
        sign: random signs g; False sets all of them to +1.
        min_params: tensors with fewer entries stay as they are.
        skip: names of modules or weights that stay as they are.
        cache_index: keep indices (int32) and factors; False recomputes them from the hash in every
            pass, with no memory for indices.

    Returns:
        The shared model; ``materialise`` turns it into a plain one.

    Raises:
        ValueError: compression < 1 or too large for one real weight, a tile larger than m, unknown
            names, a tensor of zero spread, an embedding with ``max_norm`` or ``sparse``, tensors of
            several dtypes, a model that shares already, and what :func:`compressible_weights`
            refuses.
        TypeError: see :func:`compressible_weights`.

    Example:
        >>> shared = share_parameters(nn.Linear(16, 16), 8, seed=0)
        >>> shared.shared.numel(), shared(torch.zeros(2, 16)).shape
        (32, torch.Size([2, 16]))
    """
    if not (isfinite(compression) and compression >= 1):
        raise ValueError(f"compression is {compression}; allowed are finite numbers >= 1")
    if not (isfinite(init_scale) and init_scale > 0):
        raise ValueError(f"init_scale is {init_scale}; allowed are finite numbers > 0")
    if lam_convention not in LAM_CONVENTIONS:
        raise ValueError(f"lam_convention is {lam_convention!r}; allowed {LAM_CONVENTIONS}")
    check_grad_scale(grad_scale, guard)
    coefficients = hash_coefficients(seed)
    slots = compressible_weights(model, min_params=min_params, skip=skip)
    _refuse_unshareable(model, slots)
    m = memory_size(sum(slot.size for slot in slots), compression)
    layout = virtual_layout(
        mapping, m, [s.shape for s in slots], tile=tile, tables=[s.table for s in slots]
    )
    weights = [model.get_parameter(slot.name).detach() for slot in slots]
    spread = init_scale / sqrt(3) if lam_convention == "true_std" else init_scale
    layer_scale = torch.stack(
        [_standard_deviation(*pair) for pair in zip(slots, weights, strict=True)]
    )
    generator = torch.Generator().manual_seed(seed)
    z = (2 * torch.rand(m, dtype=torch.float64, generator=generator) - 1) * init_scale
    skeleton = deepcopy(model)
    for slot in slots:
        for layer in slot.layers:
            skeleton.get_submodule(layer).register_parameter("weight", None)
    return SharedModel(
        skeleton,
        slots,
        layout,
        shared=z.to(weights[0]),
        layer_scale=layer_scale / spread,
        hash_coefficients=coefficients.to(weights[0].device),
        sign=sign,
        grad_scale=grad_scale,
        guard=guard,
        cache_index=cache_index,
    )


def memory_size(n: int, compression: float) -> int:
    """Real weights m = int(n / compression) for n virtual ones.

    Raises:
        ValueError: nothing would be left.
    """
    m = int(n / compression)
    if m < 1:
        raise ValueError(
            f"compression {compression} of {n} weights leaves m = {m}; allowed are at most {n}"
        )
    return m


def _refuse_unshareable(model: nn.Module, slots: Sequence[WeightSlot]) -> None:
    for name, module in model.named_modules():
        if isinstance(module, SharedModel):
            raise ValueError(f"module {name!r} shares its parameters already; materialise it first")
    for slot in slots:
        if isinstance(model.get_submodule(slot.layers[0]), MaskedWeight):
            raise ValueError(f"{slot.name!r} is masked; materialise the model before sharing")
    first = model.get_parameter(slots[0].name)
    for slot in slots:
        weight = model.get_parameter(slot.name)
        if (weight.dtype, weight.device) != (first.dtype, first.device):
            raise ValueError(
                f"{slot.name!r} is {weight.dtype} on {weight.device}, but {slots[0].name!r} is "
                f"{first.dtype} on {first.device}; one vector can hold one kind, skip the others"
            )
        for alias, layer in zip(slot.aliases, slot.layers, strict=True):
            module = model.get_submodule(layer)
            if isinstance(module, nn.Embedding) and (module.max_norm is not None or module.sparse):
                raise ValueError(
                    f"{alias!r} belongs to an embedding with max_norm={module.max_norm}, "
                    f"sparse={module.sparse}, which change or address rows in place; skip it"
                )


def _standard_deviation(slot: WeightSlot, weight: Tensor) -> Tensor:
    if slot.padding_row is not None:
        weight = torch.cat([weight[: slot.padding_row], weight[slot.padding_row + 1 :]])
    spread = weight.double().std() if weight.numel() > 1 else weight.new_zeros(())
    if not bool(torch.isfinite(spread)) or not bool(spread > 0):
        raise ValueError(
            f"{slot.name!r} has standard deviation {float(spread)}; sharing needs a finite "
            "positive one to match: initialise it or skip it"
        )
    return spread.to(weight.dtype)
