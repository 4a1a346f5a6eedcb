"""A whole run that is killed, at named points or at random, loses nothing that it finished.

After each kill nothing in the store is corrupt, a rerun completes, uses what is stored, and leaves
what the undisturbed run leaves.
"""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired

import numpy as np
import pytest
from reliability.campaign import Reference, Run, Tally, spread, started, wait_until

from overparam.store import Store

NAMED = 100
MOMENTS = 100
REAL = 20

QUICK = (
    "parent rename pins/run.json after#1",
    "worker rename scratch/KEY/checkpoint.json after#3",
    "worker rename artifacts/steady/pruned/KEY/manifest.json before#2",
    "parent rename artifacts/steady/report/KEY/manifest.json after#1",
)


def kill_at(reference: Reference, folder: Path, point: str, tally: Tally, do: str = "kill") -> Path:
    """Run, kill at a point, wait until nothing of the run is left; returns the store's place."""
    place = folder / "store"
    sabotage = {"root": str(place), "at": point, "do": do}
    files = folder / f"killed-{tally.kills}"  # each strikes once, which is noted there
    with started(files, *reference.words(place), sabotage=sabotage) as run:
        status = run.ended()
    if status == 0:
        tally.missed.append(point)
    else:
        tally.kills += 1
    return place


def kill_after(reference: Reference, folder: Path, share: float, tally: Tally) -> Path:
    """Run, kill everything when a share of the undisturbed run's seconds has passed."""
    place = folder / "store"
    with started(folder / "killed", *reference.words(place)) as run:
        wait_until(lambda: place.exists() or run.process.poll() is not None, "a start")
        wait_for(run, share * reference.seconds)
        run.kill()
    if run.process.returncode == 0:
        tally.missed.append(f"{share:.3f}")
    else:
        tally.kills += 1
    return place


def wait_for(run: Run, seconds: float) -> None:
    with suppress(TimeoutExpired):
        run.process.wait(seconds)


def test_the_undisturbed_run_is_what_this_campaign_needs(reference: Reference) -> None:
    stages = {step["stage"] for step in reference.run["steps"]}
    assert stages == {"generate", "train", "compress", "evaluate", "report"}
    assert {step["state"] for step in reference.run["steps"]} == {"completed"}
    (verdict,) = reference.run["verdicts"]
    assert verdict["verdict"] == "reproduced"
    assert len(spread(reference.points, NAMED)) == NAMED
    assert set(QUICK) <= set(reference.points)


@pytest.mark.parametrize("point", QUICK)
def test_killed_at_a_named_point(reference: Reference, tmp_path: Path, point: str) -> None:
    tally = Tally()
    place = kill_at(reference, tmp_path, point, tally)
    assert tally.kills == 1, f"{point} was not reached"
    reference.assert_mends(place, tmp_path / "again", tally, here=True)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_killed_at_a_moment(reference: Reference, tmp_path: Path, share: float) -> None:
    place = kill_after(reference, tmp_path, share, Tally())
    reference.assert_mends(place, tmp_path / "again", Tally(), here=True)


@pytest.mark.slow
def test_killed_again_and_again_and_gone_on_by_the_same_command(
    reference: Reference, tmp_path: Path
) -> None:
    """Each attempt gets a little further; the last one is a process of its own."""
    tally = Tally()
    points = (
        "worker rename artifacts/steady/points/KEY/manifest.json after#1",
        "worker rename artifacts/steady/fitted/KEY/manifest.json after#1",
    )
    stored = []
    for point in points:
        place = kill_at(reference, tmp_path, point, tally)
        stored.append(len(list(Store.open(place).refs())))
    assert stored == [1, 2]
    reference.assert_mends(place, tmp_path / "again", tally)


@pytest.mark.parametrize("who", ["parent", "worker"])
def test_one_process_of_a_run_is_killed(reference: Reference, tmp_path: Path, who: str) -> None:
    """Of the command its workers end too; of a worker the run tells, and the other cells finish."""
    points = {
        "parent": "parent send POST /api/artifacts/ after#2",
        "worker": "worker rename artifacts/steady/fitted/KEY/manifest.json before#1",
    }
    place, tally = tmp_path / "store", Tally()
    sabotage = {"root": str(place), "at": points[who], "do": "kill-one"}
    with started(tmp_path / "killed", *reference.words(place), sabotage=sabotage) as run:
        status = run.ended()
    if who == "parent":
        assert status == -9
    else:
        assert status == 1
        (row,) = run.runs
        failed = [step for step in row["steps"] if step["state"] == "failed"]
        ((step, cell, error),) = [(step["step"], step["cell"], step["error"]) for step in failed]
        assert step == "fitted" and "the worker process ended by signal 9" in error
        assert error.startswith(f"train · steady · fitted · seed={cell['seed']}: ")
        states = Counter((step["step"], step["state"]) for step in row["steps"])
        assert states["fitted", "completed"] == 2 and states["pruned", "completed"] == 4
    reference.assert_mends(place, tmp_path / "again", tally, here=True)


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_killed_at_a_hundred_named_points(reference: Reference, tmp_path: Path) -> None:
    tally = Tally()
    for number, point in enumerate(spread(reference.points, NAMED)):
        folder = tmp_path / str(number)
        do = "kill-one" if number % 10 == 9 else "kill"
        place = kill_at(reference, folder, point, tally, do)
        reference.assert_mends(place, folder / "again", tally)
        print(number, do, point, tally, flush=True)
    assert tally.reruns == NAMED and len(tally.missed) <= NAMED // 10, tally.missed


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_killed_at_a_hundred_random_moments(reference: Reference, tmp_path: Path) -> None:
    tally = Tally()
    rng = np.random.Generator(np.random.Philox(key=MOMENTS))
    for number, share in enumerate(rng.uniform(0, 1, MOMENTS)):
        folder = tmp_path / str(number)
        place = kill_after(reference, folder, float(share), tally)
        reference.assert_mends(place, folder / "again", tally)
        print(number, f"{share:.3f}", tally, flush=True)
    assert tally.reruns == MOMENTS and tally.kills >= MOMENTS // 2


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_a_real_study_killed_at_twenty_random_moments(prefect_api: str, tmp_path: Path) -> None:
    """Four kills one after another on each of five stores, then a run that goes on from there."""
    real = Reference.make(tmp_path / "undisturbed", study="parameter-sharing")
    tally = Tally()
    rng = np.random.Generator(np.random.Philox(key=REAL))
    for number, share in enumerate(rng.uniform(0, 1, REAL)):
        folder = tmp_path / str(number // 4)
        place = kill_after(real, folder, float(share), tally)
        assert list(Store.open(place).verify()) == []
        if number % 4 == 3:
            real.assert_mends(place, folder / "again", tally)
        print(number, f"{share:.3f}", tally, flush=True)
    assert tally.reruns == REAL // 4 and tally.kills >= REAL // 4
