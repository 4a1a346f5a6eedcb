r"""Movement pruning, hard and global.

Sanh, Wolf & Rush, *Movement pruning: adaptive sparsity by fine-tuning* (NeurIPS 2020, arXiv
2005.07683). While the model is fine-tuned every weight gets a score, :math:`S_i = -\sum_t
(w_i \, \partial L / \partial w'_i)^{(t)}` (Section 4), that grows when it moves away from zero. The
forward pass uses :math:`w' = m \odot w`, m the mask of the highest scores of all layers together.
Masked weights get no gradient, but their scores do, straight through the mask: they can come back.
The kept fraction is 1 for :math:`t_i` steps, then falls along a cubic, :math:`v_t = v_f + (1 - v_f)
(1 - (t - t_i) / (T - t_i - t_f))^3`, and is :math:`v_f` for the last :math:`t_f` (Section 5).
"""

from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from overparam.compress.masks import (
    apply_masks,
    global_mask,
    join_scores,
    split_masks,
    top_entries,
)
from overparam.compress.materialise import materialise
from overparam.compress.single_names import single_names
from overparam.compress.train_steps import same_modes, training_steps
from overparam.compress.weights import WeightSlot, compressible_weights
from overparam.datasets import Batches
from overparam.training import Recipe, Task, train_model

WARM_UP, COOL_DOWN = 0.1, 0.2
"""Shares of all steps before and after the cubic, about those of the paper's runs."""


def movement_prune(
    model: nn.Module, data: Batches, task: Task, recipe: Recipe, *, count: int, seed: int
) -> nn.Module:
    """Fine-tune a copy of ``model`` while its weights that move towards zero are pruned.

    A weight that the loss does not reach keeps the score 0.

    Args:
        model: trained, dense; not changed.
        data: training samples.
        task: how samples reach the model, and its loss.
        recipe: of the fine-tuning.
        count: weights kept in the end, 1..n.
        seed: of the order of the samples.

    Returns:
        The fine-tuned model under its final masks.

    Raises:
        ValueError: ``count`` out of range, no epochs, or the loss is not finite.
    """
    names = single_names(model)
    slots = compressible_weights(names.emptied(model))
    n = sum(slot.size for slot in slots)
    if not 1 <= count <= n:
        raise ValueError(f"count is {count}; allowed 1..{n}")
    if recipe.epochs < 1:
        raise ValueError("epochs is 0; movement pruning needs at least one")
    total = training_steps(data, recipe)
    moving = Moving(materialise(model), slots)
    done = 0

    def on_step() -> None:
        nonlocal done
        done += 1
        moving.keep(round(n * cubic(done, total, count / n)) if done < total else count)

    train_model(moving.model, data, task, recipe, seed=seed, on_step=on_step)
    names.empty(moving.plain())
    pruned = apply_masks(moving.model, global_mask(moving.scores, count=count))
    return same_modes(names.fill(pruned), model)


def cubic(step: int, total: int, final: float) -> float:
    """Fraction kept after this many of ``total`` steps: 1, a cubic, then ``final``.

    Example:
        >>> [round(cubic(step, 100, 0.1), 3) for step in (10, 45, 80, 100)]
        [1.0, 0.213, 0.1, 0.1]
    """
    start, stop = WARM_UP * total, (1 - COOL_DOWN) * total
    share = min(1.0, max(0.0, (step - start) / (stop - start)))
    return final + (1 - final) * (1 - share) ** 3


class Moving:
    """A model whose weights carry scores of their movement, while it is trained.

    Attributes:
        model: the model handed in, its layers masked; train it as usual.
        scores: S by weight name, summed up in every backward pass.
        masks: the present masks by weight name.
    """

    def __init__(self, model: nn.Module, slots: Sequence[WeightSlot]) -> None:
        self.model, self.slots = model, tuple(slots)
        weights = {slot.name: model.get_parameter(slot.name) for slot in slots}
        self.scores = {
            name: torch.zeros_like(w, requires_grad=False) for name, w in weights.items()
        }
        self.masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
        for slot in slots:
            for name in slot.layers:
                layer = model.get_submodule(name)
                layer.__dict__.update(
                    weight_mask=self.masks[slot.name], weight_scores=self.scores[slot.name]
                )
                layer.__class__ = _moving_class(type(layer))  # type: ignore[arg-type]

    def keep(self, count: int) -> None:
        """Mask all but the ``count`` highest scores of all layers, from the next pass on."""
        joint, shapes = join_scores(self.scores, stacked=False)
        for name, mask in split_masks(top_entries(joint, count), shapes).items():
            self.masks[name].copy_(mask)

    def plain(self) -> nn.Module:
        """The model with its own layers again, all weights unmasked."""
        for slot in self.slots:
            for name in slot.layers:
                layer = self.model.get_submodule(name)
                del layer.weight_mask, layer.weight_scores
                layer.__class__ = type(layer).__bases__[1]
        return self.model


class _MovingWeight:
    """Mixin of a layer whose weight is masked, and whose masked weights' gradients count too."""

    weight_mask: Tensor
    weight_scores: Tensor

    @property
    def weight(self) -> Tensor:
        parameters: Mapping[str, Tensor] = self._parameters  # type: ignore[attr-defined]
        effective = torch.where(self.weight_mask, parameters["weight"], 0.0)
        if effective.requires_grad:
            effective.register_hook(self._move)  # type: ignore[no-untyped-call]
        return effective

    def _move(self, gradient: Tensor) -> None:
        parameters: Mapping[str, Tensor] = self._parameters  # type: ignore[attr-defined]
        self.weight_scores.sub_(gradient * parameters["weight"].detach())


@cache
def _moving_class(layer_class: type[nn.Module]) -> type[nn.Module]:
    return type(f"Moving{layer_class.__name__}", (_MovingWeight, layer_class), {})
