"""Methods one after the other: ``magnitude+int8``, ``channels+distill+gptq4``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn
from torch.optim import Optimizer

from overparam.compress.grad_scale import attach_gradient_scaling
from overparam.compress.registry import Method, load_method, method_names, method_place
from overparam.compress.shared_model import SharedModel
from overparam.datasets import Batches
from overparam.training import Recipe, Task, train_model

DISTILL = "distill"
ALIASES = {"int": "nearest"}
"""Short names: ``int8`` is nearest rounding to 8 bits."""


@dataclass(frozen=True)
class Part:
    """One method of a composition; ``bits`` where its name fixes them (``gptq4``)."""

    name: str
    bits: int | None = None

    @property
    def place(self) -> str | None:
        """Where the method is written; ``None`` for ``distill``."""
        return None if self.name == DISTILL else method_place(self.name)


@dataclass(frozen=True)
class Composition:
    """Methods that are applied one after the other, each to what the one before it left.

    A result that wants fine-tuning is fine-tuned before the next method, and at the end; where
    ``distill`` follows, the dense model is its teacher.
    """

    text: str
    parts: tuple[Part, ...]
    methods: tuple[Method | None, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """Where its methods are written: what its code is."""
        return tuple(part.place for part in self.parts if part.place is not None)

    @property
    def takes_ratio(self) -> bool:
        """Whether it asks for a ratio."""
        return self._asks("ratio")

    @property
    def takes_bits(self) -> bool:
        """Whether it asks for bits that its text does not fix."""
        pairs = zip(self.parts, self.methods, strict=True)
        return any(m is not None and "bits" in m.needs and p.bits is None for p, m in pairs)

    @property
    def fixed_bits(self) -> int | None:
        """The bits that its text fixes, if it does."""
        return next((part.bits for part in self.parts if part.bits is not None), None)

    @property
    def repeats(self) -> bool:
        """Whether another seed gives another model: it draws, trains, or is fine-tuned."""
        return any(
            method is None or method.finetune or {"seed", "recipe"} & set(method.needs)
            for method in self.methods
        )

    def _asks(self, name: str) -> bool:
        return any(method is not None and name in method.needs for method in self.methods)

    def __call__(
        self,
        model: nn.Module,
        *,
        ratio: float | None,
        bits: int | None,
        data: Batches,
        validation: Batches | None,
        task: Task,
        recipe: Recipe,
        anew: Recipe,
        initial: nn.Module,
        seed: int,
    ) -> nn.Module:
        """Compress a trained model.

        Args:
            model: dense and trained; not changed.
            ratio: for the methods that ask for it.
            bits: for those that ask for it and whose name does not fix them.
            data: training samples.
            validation: for early stopping of fine-tuning.
            task: how samples reach the model, and its loss.
            recipe: of fine-tuning, also by a method itself; no epochs, no fine-tuning.
            anew: of methods that train the initial network anew.
            initial: the network before it was trained.
            seed: of everything drawn.

        Raises:
            CannotTreat: a method can't treat the model.
        """
        tune = partial(
            _finetuned,
            data=data,
            validation=validation,
            task=task,
            recipe=recipe,
            seed=seed,
        )
        current, untuned = model, False
        for part, method in zip(self.parts, self.methods, strict=True):
            if method is None:
                current, untuned = tune(current, teacher=model), False
                continue
            if untuned:
                current = tune(current, teacher=None)
            made: object = method(
                current,
                ratio=ratio,
                bits=part.bits or bits,
                data=data,
                task=task,
                seed=seed,
                recipe=anew if "initial" in method.needs else recipe,
                initial=initial,
            )
            if not isinstance(made, nn.Module):
                raise TypeError(
                    f"method {part.name!r} gave a {type(made).__name__}; allowed: a torch.nn.Module"
                )
            current, untuned = made, method.finetune
        return tune(current, teacher=None) if untuned else current


def composition(text: str) -> Composition:
    """Read ``method+method+...``.

    Each is a name of :func:`method_names`, a quantiser's name with its bits (``int8``, ``gptq4``),
    ``distill`` after a method whose result is fine-tuned, or, in the first place,
    ``+file.py:name``.

    Raises:
        ValueError: an unknown method (with the nearest names), two that ask for a ratio or for
            bits, or a ``distill`` that has nothing to fine-tune.
        ImportError: a method's module does not import.
    """
    own = text.startswith("+")
    names = [name.strip() for name in text.removeprefix("+").split("+")]
    if not all(names):
        raise ValueError(f"method {text!r} has an empty part; write e.g. magnitude+int8")
    parts = tuple(
        Part(f"+{name}") if own and index == 0 else _part(name) for index, name in enumerate(names)
    )
    methods = tuple(None if part.name == DISTILL else load_method(part.name) for part in parts)
    for index, method in enumerate(methods):
        before = methods[index - 1] if index else None
        if method is None and (before is None or not before.finetune):
            raise ValueError(
                f"method {text!r}: distill must follow a method whose result is fine-tuned"
            )
    for knob in ("ratio", "bits"):
        asking = [
            part.name
            for part, method in zip(parts, methods, strict=True)
            if method is not None and knob in method.needs
        ]
        if len(asking) > 1:
            raise ValueError(f"method {text!r}: {' and '.join(asking)} both ask for {knob}")
    return Composition(text, parts, methods)


def _part(name: str) -> Part:
    known = method_names()
    if name == DISTILL or name in known:
        return Part(name)
    numbered = re.fullmatch(r"([a-z][a-z_]*?)_?(\d+)", name)
    stem, bits = (numbered[1], int(numbered[2])) if numbered else (name, None)
    stem = ALIASES.get(stem, stem)
    if stem not in known:
        method_place(name)  # raises, naming the nearest
    if bits is not None and not 2 <= bits <= 8:
        raise ValueError(f"method {name!r} asks for {bits} bits; allowed 2 to 8")
    if bits is not None and "bits" not in load_method(stem).needs:
        raise ValueError(f"method {name!r}: {stem} takes no bits")
    return Part(stem, bits)


def _finetuned(
    model: nn.Module,
    *,
    data: Batches,
    validation: Batches | None,
    task: Task,
    recipe: Recipe,
    seed: int,
    teacher: nn.Module | None,
) -> nn.Module:
    """Fine-tune in place what a method returned, unless the recipe has no epochs."""
    if recipe.epochs:
        train_model(
            model,
            data,
            task,
            recipe,
            seed=seed,
            validation=validation,
            teacher=teacher,
            on_optimizer=_scaling(model),
        )
    return model


def _scaling(model: nn.Module) -> Callable[[Optimizer], object] | None:
    """Shared parameters learn by scaled gradients."""
    if isinstance(model, SharedModel) and model.grad_scale_mode != "none":
        return partial(attach_gradient_scaling, model=model)
    return None
