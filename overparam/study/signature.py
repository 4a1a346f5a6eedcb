"""Signature: what the parameters of a step, claim or figure say that it reads."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from overparam.errors import DeclarationError
from overparam.study.config import StudyConfig

S = TypeVar("S")


@dataclass(frozen=True)
class Signature:
    """A function's parameters, sorted into inputs and keyword-only names."""

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Self:
        """Read the signature.

        Raises:
            DeclarationError: the function takes ``*args``, ``**kwargs`` or defaults, which would
                hide what it reads.
        """
        signature = cls(function, (), ())
        inputs: list[str] = []
        names: list[str] = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise signature.error(str(parameter), "hides what the function reads: name each")
            if parameter.default is not parameter.empty:
                raise signature.error(
                    parameter.name, "has a default; put the value in the config, where keys see it"
                )
            keyword_only = parameter.kind is parameter.KEYWORD_ONLY
            (names if keyword_only else inputs).append(parameter.name)
        return cls(function, tuple(inputs), tuple(names))

    def error(self, parameter: str, what: str) -> DeclarationError:
        """A declaration error that names file, line, function and parameter."""
        code = self.function.__code__
        return DeclarationError(
            f"{code.co_filename}:{code.co_firstlineno}: {self.function.__name__}: "
            f"parameter {parameter!r} {what}"
        )

    def resolve_inputs(self, steps: Mapping[str, S]) -> dict[str, S]:
        """Match the positional parameters with steps."""
        for name in self.inputs:
            if name == self.function.__name__ and name not in steps:
                raise self.error(name, "makes the step read itself: a cycle")
            if name not in steps:
                raise self.error(
                    name,
                    f"is not a step declared above{nearest(name, steps)} "
                    "(config fields are keyword-only: put them after `*`)",
                )
        return {name: steps[name] for name in self.inputs}

    def check_names(self, config: type[StudyConfig], *, also: Iterable[str] = ()) -> None:
        """Check that each keyword-only parameter is a config field or one of ``also``."""
        known = [*config.model_fields, *also]
        for name in self.names:
            if name not in known:
                raise self.error(name, f"is not a config field{nearest(name, known)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean x?`` or the list of what there is."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=2)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there is {', '.join(names)}" if names else "; there is none"
