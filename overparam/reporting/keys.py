"""Where a report lies: its key is a hash of what claims and figures read, and of their code."""

from collections.abc import Sequence
from typing import Any

from overparam.reporting.figures import draw_figures
from overparam.store import ArtifactRef
from overparam.study import Claim, Figure, Plan, judge_claims
from overparam.study.plan import digest

STEP = "report"


def page_name(plan: Plan) -> str:
    """``quick``; ``quick-1a2b3c4d`` where fields are overridden, so that no page hides another."""
    plain = plan.study.config.for_profile(plan.profile)
    if plain == plan.config:
        return plan.profile
    changed = plan.config.model_dump(mode="json")
    return f"{plan.profile}-{digest(changed)[:8]}"


def report_ref(plan: Plan) -> ArtifactRef:
    """Where the report's artifact lies."""
    return ArtifactRef(plan.study.name, STEP, digest(report_parts(plan)))


def report_parts(plan: Plan) -> dict[str, Any]:
    """What a report's key is a hash of: what verdicts rest on, and how figures are drawn."""
    drawing = draw_figures.__module__, draw_figures.__qualname__
    return {
        "study": plan.study.name,
        "step": STEP,
        "stage": STEP,
        "profile": plan.profile,
        "cell": {},
        "verdicts": verdict_fingerprint(plan),
        "figures": [[figure.title, figure.caption] for figure in plan.study.figures],
        **_read_by(plan, [*plan.study.figures, *plan.study.answers]),
        "drawing": plan.code_of(*drawing).digest,
    }


def verdict_fingerprint(plan: Plan) -> str:
    """A hash of all that the verdicts rest on; figures have no part in it."""
    judging = judge_claims.__module__, judge_claims.__qualname__
    return digest(
        {
            "profile": plan.profile,
            "claims": [_described(claim) for claim in plan.study.claims],
            **_read_by(plan, plan.study.claims),
            "judging": plan.code_of(*judging).digest,
        }
    )


def _read_by(plan: Plan, readers: Sequence[Claim | Figure]) -> dict[str, Any]:
    """The config fields, the artifacts and the code of some claims or figures."""
    functions = [reader.function for reader in readers]
    steps = {step for reader in readers for step in reader.inputs.values()}
    return {
        "config": {
            name: plan.config.content(name)
            for name in sorted({name for reader in readers for name in reader.fields})
        },
        "upstream": {
            f"{step.study}/{step.name}": [
                plan.key(cell) for cell in plan.cells_of(step) if cell not in plan.lost
            ]
            for step in sorted(steps, key=lambda step: (step.study, step.name))
        },
        "code": {f.__name__: plan.code_of(f.__module__, f.__qualname__).digest for f in functions},
    }


def _described(claim: Claim) -> list[str]:
    return [
        claim.name,
        claim.title,
        claim.source,
        claim.arm,
        claim.control_name,
        claim.decided_at,
    ]
