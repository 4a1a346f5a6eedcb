"""The parameters of an earlier flow run: from the store's records, else from the Prefect API."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flows.history import find_record
from overparam.errors import BadInput
from overparam.store import Store


@dataclass(frozen=True)
class Recorded:
    """Studies with profile and settings, and the address of the store that they used."""

    studies: list[tuple[str, str, dict[str, Any]]]
    store: str


def recorded_parameters(run_id: str, store: str | None, *, ephemeral: bool) -> Recorded:
    """Find a run by its id.

    Args:
        run_id: the id, or (for what the store has on record) its beginning.
        store: an address; ``None`` is the recorded store, else the default one.
        ephemeral: do not ask a server.

    Raises:
        BadInput: neither the store nor the server knows it.
    """
    opened = Store.open(store)
    try:
        record = find_record(opened, run_id)
    except BadInput:
        if ephemeral:
            raise
        return _from_api(run_id, store)
    return Recorded([(record.name, record.profile, dict(record.settings))], opened.address)


def _from_api(run_id: str, store: str | None) -> Recorded:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    from flows.server import api_for_run

    try:
        uuid = UUID(run_id)
    except ValueError:
        raise BadInput(
            f"no run {run_id!r} on record in this store; to ask the server, give the whole id"
        ) from None
    with api_for_run(ephemeral=False) as api, get_client(sync_client=True) as client:
        try:
            found = client.read_flow_run(uuid)
        except ObjectNotFound:
            where = api.url if api else "the server"
            raise BadInput(f"neither this store nor {where} knows the run {run_id}") from None
    parameters = found.parameters
    address = store or parameters.get("store") or Store.open().address
    profile = str(parameters.get("profile", "quick"))
    if "study" in parameters:
        studies = [(str(parameters["study"]), profile, dict(parameters.get("settings") or {}))]
    elif "fail_fast" in parameters:
        from flows.reproduce import chosen

        names = chosen(list(parameters.get("studies") or []), parameters.get("theme"))
        studies = [(name, profile, {}) for name in names]
    else:
        raise BadInput(f"the run {run_id} is not one of overparam's flows: {found.name}")
    return Recorded(studies, str(address))
