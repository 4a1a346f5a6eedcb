"""Study: a declaration that can be run in this process, without Prefect."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from overparam.errors import StepFailed
from overparam.store import ArtifactRef, DamagedArtifact, Store, Tables, pinned_by_run
from overparam.study.declaration import Declaration
from overparam.study.execution import (
    Progress,
    StepRecord,
    artifact_refs,
    cached_records,
    read_cells,
    run_unit,
)
from overparam.study.plan import Plan, Unit, make_plan
from overparam.study.steps import Step, no_progress
from overparam.study.verdicts import ClaimVerdict, judge_claims

T = TypeVar("T")


@dataclass(frozen=True)
class Results:
    """What a run left: a record per cell, the verdicts, and the tables in the store."""

    plan: Plan
    store: Store
    records: list[StepRecord]
    verdicts: list[ClaimVerdict]

    @property
    def ok(self) -> bool:
        """Whether every step ran (whatever the verdicts)."""
        return all(record.state in ("completed", "cached") for record in self.records)

    def tables(self, step: str) -> Tables:
        """The tables of a step, all its cells concatenated.

        Raises:
            KeyError: no such step.
        """
        return step_tables(self.plan, self.plan.study.steps[step], self.store)

    def verdict_frame(self) -> pd.DataFrame:
        """One row per claim: claim, verdict, effect, low, high, n, control."""
        rows = [verdict.to_dict() for verdict in self.verdicts]
        columns = ["claim", "verdict", "effect", "low", "high", "n"]
        frame = pd.DataFrame([{name: row[name] for name in columns} for row in rows])
        return frame.assign(control=[row["control"]["verdict"] for row in rows])


def step_tables(plan: Plan, step: Step, store: Store) -> Tables:
    """The tables of a step of a plan, its cells that are there concatenated."""
    return read_cells(plan, [c for c in plan.cells_of(step) if c not in plan.lost], store)


def verdicts_of(plan: Plan, store: Store) -> list[ClaimVerdict]:
    """Judge the claims of a plan on what is in the store.

    Where cells were lost, a claim that can't be judged on what is left is left out.

    Raises:
        StepFailed: a claim's function raised although everything that it reads is there.
    """
    verdicts = []
    for claim in plan.study.claims:
        holes = [not plan.lost.isdisjoint(plan.cells_of(step)) for step in claim.inputs.values()]
        try:
            verdicts += judge_claims(
                [claim],
                plan.config,
                plan.profile,
                lambda step: step_tables(plan, step, store),
                family=len(plan.study.claims),
            )
        except StepFailed:
            if not any(holes):
                raise
    return verdicts


def mending(
    plan: Plan,
    store: Store,
    action: Callable[[], T],
    *,
    produce: Callable[[Unit], object] | None = None,
) -> T:
    """Do what reads artifacts; one that is found damaged is set aside and computed again, once.

    Args:
        action: what to do.
        produce: runs a unit; by default in this process.
    """
    mended: set[ArtifactRef] = set()
    while True:
        try:
            return action()
        except DamagedArtifact as damage:
            if damage.ref in mended:
                raise
            mended.add(damage.ref)
            _replace(plan, damage, store, produce or (lambda unit: run_unit(plan, unit, store)))


def _replace(
    plan: Plan, damage: DamagedArtifact, store: Store, produce: Callable[[Unit], object]
) -> None:
    """Quarantine a damaged artifact, warn once, and run its producer."""
    place = store.quarantine(damage.ref, str(damage))
    warnings.warn(f"{damage}; set aside under {place}, computed again", stacklevel=3)
    for unit in plan.units:
        cells = tuple(cell for cell in unit.cells if plan.ref(cell) == damage.ref)
        if cells:
            mending(plan, store, partial(produce, Unit(unit.step, cells)), produce=produce)
            return
    raise StepFailed(f"{damage}; no step of this run makes it")


@dataclass(eq=False)
class Study(Declaration):
    """A paper's experiment: its config, steps, claims and figures; see :mod:`overparam.study`."""

    def plan(self, profile: str = "quick", **overrides: Any) -> Plan:
        """Plan a run without running it: cells, keys, what each reads."""
        return make_plan(self, profile, overrides)

    def run(
        self,
        store: Store | str | Path | None = None,
        *,
        profile: str = "quick",
        device: str = "cpu",
        progress: Progress = no_progress,
        fresh: bool = False,
        **overrides: Any,
    ) -> Results:
        """Run the study in this process, with the same keys and artifacts as under Prefect.

        Args:
            store: a store or its address; ``None`` is the default store.
            profile: ``quick`` or ``full``.
            device: where torch computes; the CPU is the reference.
            progress: wraps the long iterations of steps.
            fresh: run every step, whatever is stored.
            overrides: config fields.

        Raises:
            ConfigError: a profile, field or value that is not allowed; nothing has run.
            StepFailed: a step raised; what ran before it is stored and is not run again.
        """
        plan = self.plan(profile, **overrides)
        store = store if isinstance(store, Store) else Store.open(store)
        records: list[StepRecord] = []
        with pinned_by_run(store, artifact_refs(plan)):
            for unit in plan.units:
                done = None if fresh else cached_records(plan, unit, store)
                records += done or mending(
                    plan,
                    store,
                    partial(
                        run_unit, plan, unit, store, fresh=fresh, device=device, progress=progress
                    ),
                )
            verdicts = mending(plan, store, lambda: verdicts_of(plan, store))
        return Results(plan, store, records, verdicts)
