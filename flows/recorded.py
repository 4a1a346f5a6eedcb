"""The parameters of an earlier flow run: from the store's records, else from the Prefect API."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flows.history import RunRecord, find_record
from overparam.errors import BadInput
from overparam.store import Store


@dataclass(frozen=True)
class Recorded:
    """What a run was given.

    Attributes:
        studies: the study's name, or those of a ``reproduce``, which may be none for all.
        many: it was a ``reproduce``.
        store: the address of the store that it used.
    """

    studies: list[str]
    profile: str
    settings: dict[str, Any]
    store: str
    device: str = "cpu"
    theme: str | None = None
    many: bool = False


def recorded_parameters(run_id: str, store: str | None, *, ephemeral: bool) -> Recorded:
    """Find a run by its id.

    Who can write to a store must not make anybody run code: a record that names a study file or a
    factory is only a hint, and the parameters are those that the server of that run has.

    Args:
        run_id: the id, or (for what the store has on record) its beginning.
        store: an address; ``None`` is the recorded store, else the default one.
        ephemeral: do not ask a server.

    Raises:
        BadInput: neither the store nor the server knows it, or the store alone does and the run
            would load code by its path.
    """
    opened = Store.open(store)
    try:
        record = find_record(opened, run_id)
    except BadInput:
        if ephemeral:
            raise
        return _from_api(run_id, store)
    if not _names_code(record):
        return Recorded([record.name], record.profile, dict(record.settings), opened.address)
    try:
        if ephemeral:
            raise BadInput("--ephemeral asks none")
        return _from_api(record.id, opened.address)
    except BadInput as error:
        raise BadInput(
            f"the record of {run_id} in this store names code to load ({record.name}), which the "
            f"server of that run must confirm: {error}. To run it all the same, name it yourself: "
            "overparam run FILE"
        ) from None


def _names_code(record: RunRecord) -> bool:
    """Whether a run loads a study file, or what could be a factory (``file.py:name``)."""
    return record.name.endswith(".py") or ":" in "".join(_texts(dict(record.settings)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for item in value.values() for text in _texts(item))
    elif isinstance(value, list | tuple):
        yield from (text for item in value for text in _texts(item))


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
        flow = client.read_flow(found.flow_id).name
    given = found.parameters
    if flow not in ("study", "compress", "reproduce"):
        raise BadInput(f"the run {run_id} is not one of overparam's flows but of {flow!r}")
    many = flow == "reproduce"
    return Recorded(
        studies=list(given.get("studies") or []) if many else [str(given.get("study", flow))],
        profile=str(given.get("profile", "quick")),
        settings=dict(given.get("settings") or {}),
        store=str(store or given.get("store") or Store.open().address),
        device=str(given.get("device", "cpu")),
        theme=given.get("theme"),
        many=many,
    )
