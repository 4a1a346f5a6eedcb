"""Where a report lies: its key is a hash of what claims and figures read, and of their code."""

from typing import Any

from overparam.store import ArtifactRef
from overparam.study import Claim, Figure, Plan
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
    """What a report's key is a hash of."""
    functions = [item.function for item in _readers(plan)]
    fields = sorted({name for item in _readers(plan) for name in item.fields})
    read = {step for item in _readers(plan) for step in item.inputs.values()}
    code = {f.__name__: plan.code_of(f.__module__, f.__qualname__).digest for f in functions}
    return {
        "study": plan.study.name,
        "step": STEP,
        "stage": STEP,
        "profile": plan.profile,
        "cell": {},
        "config": {name: plan.config.content(name) for name in fields},
        "claims": [_described(claim) for claim in plan.study.claims],
        "figures": [[figure.title, figure.caption] for figure in plan.study.figures],
        "upstream": {
            step.name: [plan.key(cell) for cell in plan.cells_of(step) if cell not in plan.lost]
            for step in sorted(read, key=lambda step: (step.study, step.name))
        },
        "code": digest(code),
    }


def _readers(plan: Plan) -> list[Claim | Figure]:
    return [*plan.study.claims, *plan.study.figures]


def _described(claim: Claim) -> list[str]:
    return [
        claim.name,
        claim.title,
        claim.source,
        claim.arm,
        claim.control_name,
        claim.decided_at,
    ]
