"""Deployments: what the server schedules, and the forms that its UI shows for runs on demand.

Each study has a deployment of its own, whose form shows the fields of its config with their
descriptions, bounds and defaults.
"""

import json
from typing import Any

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.callables import ParameterSchema, parameter_schema

from flows.reproduce import reproduce
from flows.study import study
from overparam.studies import entries, load

NIGHTLY = "0 3 * * *"
WEEKLY = "0 4 * * 6"


def deployments(
    *,
    store: str | None,
    workers: int,
    overlap: int = 1,
    nightly: str = NIGHTLY,
    weekly: str = WEEKLY,
) -> list[RunnerDeployment]:
    """All deployments of this project, for ``prefect.serve``.

    Args:
        store: the store of all runs.
        workers: worker processes of a run.
        overlap: runs of one deployment at once; a further one waits.
        nightly: cron of ``reproduce`` with quick profiles, empty for none.
        weekly: cron of ``reproduce`` with full profiles, empty for none.
    """
    common: dict[str, Any] = {
        "concurrency_limit": ConcurrencyLimitConfig(
            limit=overlap, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
        "entrypoint_type": EntrypointType.MODULE_PATH,
    }
    place = {"store": store, "workers": workers}
    made = [
        RunnerDeployment.from_flow(
            reproduce,
            name=name,
            cron=cron or None,
            parameters={"profile": profile, **place},
            description=f"All studies in the profile {profile}.",
            tags=["reproduce", profile],
            **common,
        )
        for name, profile, cron in (("nightly", "quick", nightly), ("weekly", "full", weekly))
    ]
    for entry in entries():
        if not (entry.paper and entry.available):
            continue
        deployment = RunnerDeployment.from_flow(
            study,
            name=entry.study,
            parameters={"study": entry.study, **place},
            description=f"{entry.question}\n\nPaper: {entry.paper.get('title', '')}",
            tags=["study", entry.theme],
            **common,
        )
        deployment._parameter_openapi_schema = study_form(entry.study)
        made.append(deployment)
    return made


def study_form(name: str) -> ParameterSchema:
    """The schema of the flow ``study`` with the fields of one study's config in it.

    Defaults are told in the descriptions, not set: a form sends what it shows, and would override
    with the quick profile's values what the profile says.
    """
    schema = parameter_schema(study).model_dump()
    properties = dict(schema["properties"])
    properties["study"] = {**properties["study"], "enum": [name], "default": name}
    config = _in_form(load(name).config.model_json_schema())
    fields = {
        field: {**_without_default(part), "title": field, "position": position}
        for position, (field, part) in enumerate(config["properties"].items())
    }
    properties["settings"] = {
        **properties["settings"],
        "properties": fields,
        "additionalProperties": False,
    }
    definitions = {**schema["definitions"], **config.get("$defs", {})}
    return ParameterSchema(**{**schema, "properties": properties, "definitions": definitions})


def _without_default(field: dict[str, Any]) -> dict[str, Any]:
    text = f"{field.get('description', '')} (default {json.dumps(field.get('default'))})"
    return {**{n: v for n, v in field.items() if n != "default"}, "description": text.strip()}


def _in_form(part: Any) -> Any:
    """References as the form has them: pydantic's ``$defs`` lie under ``definitions`` there."""
    if isinstance(part, dict):
        return {name: _in_form(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_in_form(value) for value in part]
    return part.replace("#/$defs/", "#/definitions/") if isinstance(part, str) else part
