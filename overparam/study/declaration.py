"""Declaration: a study as it is written down, with its paper, steps, claims and figures."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from overparam.errors import DeclarationError
from overparam.study.config import StudyConfig
from overparam.study.signature import Signature, nearest
from overparam.study.spread import Each
from overparam.study.steps import Stage, Step, declare_step
from overparam.study.verdicts import Claim, Permuted

StepFunction = Callable[..., Any]


@dataclass(frozen=True)
class Paper:
    """The paper that a study re-runs."""

    title: str
    authors: str
    year: int
    venue: str = ""
    arxiv: str = ""
    doi: str = ""
    code: str = ""

    @property
    def link(self) -> str:
        """Where the paper is read, or an empty string."""
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.doi}" if self.doi else ""


@dataclass(frozen=True, eq=False)
class Figure:
    """A titled function from tables to an Altair chart, or to a data frame shown as a table."""

    title: str
    function: Callable[..., Any]
    inputs: Mapping[str, Step]
    fields: tuple[str, ...]
    caption: str = ""


@dataclass(eq=False)
class Declaration:
    """What a study file declares; :class:`overparam.study.Study` adds running it.

    Attributes:
        name: ``lower-case-with-dashes``; the name on the command line and in the store.
        theme: the folder under ``overparam/studies``.
        config: the class of its knobs.
        question: what the study asks, in a sentence or two.
        paper: what it re-runs; ``None`` for a base or a user's own study.
        extras: extras of the package that it needs, e.g. ``("quantum",)``.
    """

    name: str
    theme: str
    config: type[StudyConfig]
    question: str
    paper: Paper | None = None
    extras: tuple[str, ...] = ()
    steps: dict[str, Step] = field(default_factory=dict, init=False)
    claims: list[Claim] = field(default_factory=list, init=False)
    figures: list[Figure] = field(default_factory=list, init=False)
    answers: list[Figure] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        config = self.config
        named = [
            *((f"profile {key!r} sets", fields) for key, fields in config.profiles.items()),
            *((f"needs: {key!r} asks for", fields) for key, fields in config.needs.items()),
            *(("within names", pair) for pair in config.within.items()),
        ]
        for what, names in named:
            for name in names:
                if name not in config.model_fields:
                    raise DeclarationError(
                        f"study {self.name!r}: {what} {name!r}, not a config "
                        f"field{nearest(name, config.model_fields)}"
                    )

    def _stage(
        self,
        stage: Stage,
        function: StepFunction | None,
        *,
        each: Each | None = None,
        batch: int | None = None,
        partial: bool = False,
        reads: Mapping[str, Step] | None = None,
        timeout: float | None = None,
        volatile: tuple[str, ...] = ("seconds",),
    ) -> Any:
        def decorate(function: StepFunction) -> Step:
            step = declare_step(
                function,
                owner=self,
                stage=stage,
                steps=self.steps,
                each=each,
                batch=batch,
                partial=partial,
                reads=reads or {},
                timeout=timeout,
                volatile=volatile,
            )
            self.steps[step.name] = step
            return step

        return decorate if function is None else decorate(function)

    @overload
    def generate(self, function: StepFunction) -> Step: ...
    @overload
    def generate(self, **options: Any) -> Callable[[StepFunction], Step]: ...
    def generate(self, function: StepFunction | None = None, **options: Any) -> Any:
        """Declare a step that makes or loads data.

        Options (the same for :meth:`train`, :meth:`compress` and :meth:`evaluate`):
            each: ``{"cell name": "list field"}``, or a function of the config that lists the
                cells: the step runs once per cell, with an artifact each. A list of such: their
                cells are combined, each with each. A cell name that only says which cells of an
                input belong to the step's own need not be taken.
            batch: hand the step up to so many values of the last list field in ``each`` at once;
                it takes them under the field's name and returns rows with the cell's column.
            partial: the step can live with cells that failed.
            reads: ``{"parameter": step of another study}``.
            timeout: seconds after which a run in a worker is ended.
            volatile: columns left out when two runs are compared.
        """
        return self._stage("generate", function, **options)

    @overload
    def train(self, function: StepFunction) -> Step: ...
    @overload
    def train(self, **options: Any) -> Callable[[StepFunction], Step]: ...
    def train(self, function: StepFunction | None = None, **options: Any) -> Any:
        """Declare a step that trains; options as for :meth:`generate`."""
        return self._stage("train", function, **options)

    @overload
    def compress(self, function: StepFunction) -> Step: ...
    @overload
    def compress(self, **options: Any) -> Callable[[StepFunction], Step]: ...
    def compress(self, function: StepFunction | None = None, **options: Any) -> Any:
        """Declare a step that prunes or compresses; options as for :meth:`generate`."""
        return self._stage("compress", function, **options)

    @overload
    def evaluate(self, function: StepFunction) -> Step: ...
    @overload
    def evaluate(self, **options: Any) -> Callable[[StepFunction], Step]: ...
    def evaluate(self, function: StepFunction | None = None, **options: Any) -> Any:
        """Declare a step that measures; options as for :meth:`generate`."""
        return self._stage("evaluate", function, **options)

    def claim(
        self,
        title: str,
        *,
        source: str,
        arm: str,
        control: str | Permuted,
        decided_at: str = "quick",
    ) -> Callable[[Callable[..., Any]], Claim]:
        """Declare a claim of the paper: a function of tables and ``arm`` that gives evidence.

        Args:
            title: the claim in one sentence.
            source: where the paper says so (theorem, figure, abstract).
            arm: the method of which it is claimed.
            control: a method known not to have the property, or :func:`permuted` where there is
                none; the claim is run on it too and must fail.
            decided_at: the smallest profile in which the claim can be decided.
        """

        def decorate(function: Callable[..., Any]) -> Claim:
            signature = Signature.of(function)
            inputs = signature.resolve_inputs(self.steps)
            signature.check_names(self.config, also=("arm",))
            if function.__name__ in [claim.name for claim in self.claims]:
                raise signature.error(function.__name__, "is the name of a claim that exists")
            if "arm" not in signature.names:
                raise signature.error("arm", "is missing: the claim runs on its arm and control")
            if decided_at not in self.config.profiles:
                raise signature.error(
                    "decided_at", f"={decided_at!r}{nearest(decided_at, self.config.profiles)}"
                )
            claim = Claim(
                name=function.__name__,
                title=title,
                source=source,
                function=function,
                inputs=inputs,
                fields=tuple(n for n in signature.names if n != "arm"),
                arm=arm,
                control=control,
                decided_at=decided_at,
            )
            self.claims.append(claim)
            return claim

        return decorate

    def figure(
        self, title: str, *, caption: str = ""
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a figure: a function of tables (and config fields) that gives a chart.

        It may give a data frame instead, which the page shows as a table.
        """

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            self.figures.append(self._drawn(title, function, caption))
            return function

        return decorate

    def answer(self, function: Callable[..., str]) -> Callable[..., str]:
        """Declare the answer of a study without claims: a function of tables that gives a sentence.

        Raises:
            DeclarationError: the study has an answer already, or claims, which are its answer.
        """
        drawn = self._drawn("answer", function, "")
        if self.answers or self.claims:
            raise DeclarationError(f"study {self.name!r} has an answer already, or claims")
        self.answers.append(drawn)
        return function

    def _drawn(self, title: str, function: Callable[..., Any], caption: str) -> Figure:
        signature = Signature.of(function)
        inputs = signature.resolve_inputs(self.steps)
        signature.check_names(self.config)
        return Figure(title, function, inputs, signature.names, caption)

    @property
    def module(self) -> str:
        """The module in which the study is written.

        Raises:
            DeclarationError: the study has no step yet.
        """
        if not self.steps:
            raise DeclarationError(f"study {self.name!r} has no step")
        return next(iter(self.steps.values())).function.__module__

    @property
    def file(self) -> Path:
        """The file in which the study is written."""
        return Path(str(sys.modules[self.module].__file__)).resolve()
