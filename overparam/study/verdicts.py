"""Claims and their verdicts: each claim is run on its arm and on a control that must fail."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from overparam.errors import StepFailed
from overparam.evidence import Evidence, Judgement, confidence_level, judge
from overparam.store import DamagedArtifact, Tables
from overparam.study.config import StudyConfig
from overparam.study.steps import Step

FAMILY_ERROR = 0.05


@dataclass(frozen=True)
class Permuted:
    """A control made by permuting the labels in ``column`` within each seed."""

    column: str
    seed_column: str = "seed"

    def apply(self, tables: Tables) -> Tables:
        """Permute the column in every table that has it; a step without it is not even read."""
        if not self.applies(tables):
            return tables
        return Tables.of({name: self._shuffled(tables[name]) for name in tables})

    def applies(self, tables: Tables) -> bool:
        """Whether a table has the column."""
        return any(self.column in tables.columns(name) for name in tables)

    def _shuffled(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.column not in frame:
            return frame
        frame = frame.copy()
        groups = frame.groupby(self.seed_column).indices if self.seed_column in frame else {0: None}
        values = frame[self.column].to_numpy(copy=True)
        for seed, rows in groups.items():
            generator = np.random.Generator(
                np.random.Philox(key=zlib.crc32(f"{self.column}:{seed}".encode()))
            )
            rows = np.arange(len(frame)) if rows is None else rows
            values[rows] = generator.permutation(values[rows])
        frame[self.column] = values
        return frame


def permuted(column: str, *, seed_column: str = "seed") -> Permuted:
    """The control for a claim whose paper names none: labels permuted within each seed."""
    return Permuted(column, seed_column)


@dataclass(frozen=True, eq=False)
class Claim:
    """A claim of the paper: a function of tables that gives evidence for an arm."""

    name: str
    title: str
    source: str
    function: Callable[..., Evidence | Sequence[Evidence]]
    inputs: Mapping[str, Step]
    fields: tuple[str, ...]
    arm: str
    control: str | Permuted
    decided_at: str

    @property
    def control_name(self) -> str:
        """The control in words."""
        if isinstance(self.control, Permuted):
            return f"{self.control.column} permuted"
        return self.control

    def __call__(self, *inputs: Any, **values: Any) -> Evidence | Sequence[Evidence]:
        return self.function(*inputs, **values)

    def evidence(
        self, tables: Mapping[str, Tables], config: StudyConfig, *, of_control: bool
    ) -> list[Evidence]:
        """The evidence for the arm, or for the control."""
        arm = self.arm
        if of_control:
            if isinstance(self.control, Permuted):
                if not any(map(self.control.applies, tables.values())):
                    raise ValueError(f"no table has the column {self.control.column!r} to permute")
                tables = {name: self.control.apply(table) for name, table in tables.items()}
            else:
                arm = self.control
        values = {name: config.step_value(name) for name in self.fields}
        found = self.function(*tables.values(), **values, arm=arm)
        return [found] if isinstance(found, Evidence) else list(found)


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim with what was found of it in one run."""

    claim: Claim
    judgement: Judgement

    @property
    def verdict(self) -> str:
        return self.judgement.verdict

    def to_dict(self) -> dict[str, Any]:
        """The row of the command line's JSON; ``parts`` holds every piece of evidence."""
        shown = self.judgement.decisive
        arm, control = self.judgement.arm[shown], self.judgement.control[shown]
        return {
            "name": self.claim.name,
            "claim": self.claim.title,
            "source": self.claim.source,
            "arm": self.claim.arm,
            "verdict": self.verdict,
            "reason": self.judgement.reason,
            **_numbers(arm),
            "n": arm.n,
            "region": list(arm.region),
            "decided_at": self.claim.decided_at,
            "control": {
                "name": self.claim.control_name,
                "verdict": self.judgement.control_verdict,
                **_numbers(control),
            },
            "parts": [
                {**own.to_dict(), "control": other.to_dict()}
                for own, other in zip(self.judgement.arm, self.judgement.control, strict=True)
            ],
        }


def _numbers(evidence: Evidence) -> dict[str, float | None]:
    row = evidence.to_dict()
    return {name: row[name] for name in ("effect", "low", "high")}


def judge_claims(
    claims: Sequence[Claim],
    config: StudyConfig,
    profile: str,
    tables: Callable[[Step], Tables],
    *,
    family: int | None = None,
) -> list[ClaimVerdict]:
    """Judge claims at the level 1 - .05/m, m being the number of claims of the study.

    Args:
        tables: gives the tables of a step.
        family: m, where only some of the study's claims are judged.

    Raises:
        StepFailed: a claim's function raised or gave no evidence; the message names it.
        DamagedArtifact: a table that a claim reads is damaged.
    """
    order = list(config.profiles)
    verdicts = []
    for claim in claims:
        inputs = {name: tables(step) for name, step in claim.inputs.items()}
        decided = order.index(profile) >= order.index(claim.decided_at)
        try:
            with confidence_level(1 - FAMILY_ERROR / (family or len(claims))):
                arm = claim.evidence(inputs, config, of_control=False)
                control = claim.evidence(inputs, config, of_control=True)
            verdicts.append(ClaimVerdict(claim, judge(arm, control, decided=decided)))
        except DamagedArtifact:
            raise
        except Exception as error:
            raise StepFailed(f"claim {claim.name!r}: {type(error).__name__}: {error}") from error
    return verdicts
