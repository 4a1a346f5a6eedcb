"""Two runs of the same studies at once on one store: both complete, and the store is one."""

from contextlib import ExitStack
from pathlib import Path

from reliability.campaign import STEADY, Reference, finished, started

from overparam.store import Store


def test_two_reproductions_at_once(reference: Reference, tmp_path: Path) -> None:
    place = tmp_path / "store"
    words = ["reproduce", STEADY, "--store", place, "--workers", 1, "--json"]
    with ExitStack() as both:
        runs = [both.enter_context(started(tmp_path / name, *words)) for name in ("one", "two")]
        assert [run.ended() for run in runs] == [0, 0], [run.err for run in runs]
    store = Store.open(place)
    for run in runs:
        (row,) = run.runs
        reference.assert_same(store, row)
    ids = {run.runs[0]["flow_run_id"] for run in runs}
    assert {file.stem for file in (place / "runs").iterdir()} == ids
    assert not list(place.rglob("*.tmp")) and not (place / "quarantine").exists()
    assert [pin.name for pin in (place / "pins").iterdir() if pin.name.startswith("run-")] == []
    status, again = finished(tmp_path / "again", *words)
    assert status == 0
    assert {step["state"] for step in again.runs[0]["steps"]} == {"cached"}
