"""The worker pool and the small parts of the tasks, without a server."""

import json
import shlex
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from pathlib import Path

import pytest
from pebble import ProcessExpired
from prefect.states import Completed, Failed

from overparam.errors import StepFailed
from overparam.store import DamagedArtifact, Store
from overparam.store.names import ArtifactRef
from overparam.studies import load
from overparam.study import StudyConfig, Unit, make_plan, record_of
from tasks import Run, Workers, rerun_command, workers
from tasks.artifacts import artifact_key, unit_key
from tasks.cache import cached_state
from tasks.pool import Pending, Request, RunStopped, StepTimeout, WorkerDied
from tasks.stages import IO_RETRIES, TASKS, is_io_error, report

COIN = str(Path(__file__).parent.parent / "toys" / "coin.py")
RUN = Run(COIN, "coin", "quick", "{}", "/somewhere")


@pytest.fixture(scope="module")
def plan():
    return make_plan(load(COIN), "quick", {"seeds": 4})


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError(5, "Input/output error"), True),
        (ConnectionResetError(), True),
        (TimeoutError("the read timed out"), True),
        (BlockingIOError(), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (IsADirectoryError(), False),
        (NotADirectoryError(), False),
        (ValueError(), False),
        (StepFailed("diverged"), False),
        (WorkerDied(), False),
        (StepTimeout(), False),
        (MemoryError(), False),
        (DamagedArtifact(ArtifactRef("a", "b", "0123456789abcdef"), None, "x"), False),
    ],
)
def test_only_io_errors_that_may_pass_are_tried_again(error, again):
    assert is_io_error(None, None, Failed(data=error)) is again


def test_no_error_is_not_tried_again():
    assert not is_io_error(None, None, Completed())


def test_the_five_tasks_are_made_alike():
    assert list(TASKS) == ["generate", "train", "compress", "evaluate"]
    for name, task in [*TASKS.items(), ("report", report)]:
        assert task.name == name and task.task_run_name == "{name}"
        assert task.retries == IO_RETRIES and task.retry_jitter_factor == 1.0
        assert task.retry_condition_fn is is_io_error
        assert task.persist_result is False


def pending(outcome, timeout=3.0):
    future = Future()
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    elif outcome is not None:
        future.set_result(outcome)
    return Pending(Workers(1), Request(RUN, 0, (), (), (), False), timeout, future)


def expired(code):
    error = ProcessExpired("expired", code, 1)
    error.exitcode = code
    return error


def test_waiting_for_a_worker():
    assert pending(None).wait(0.01) is None
    assert pending([]).wait(0.01) == []
    with pytest.raises(StepTimeout, match="longer than its time-out of 3 s"):
        pending(FutureTimeout("Task timeout", 3.0)).wait(1)
    with pytest.raises(WorkerDied, match=r"by signal 11$"):
        pending(expired(-11)).wait(1)
    with pytest.raises(WorkerDied, match=r"by signal 9 \(out of memory\?\)"):
        pending(expired(-9)).wait(1)
    with pytest.raises(WorkerDied, match="with exit code 3"):
        pending(expired(3)).wait(1)


@pytest.mark.parametrize("timeout", [None, 3.0])
def test_a_step_whose_own_connection_times_out_did_not_reach_its_time_out(timeout):
    with pytest.raises(TimeoutError, match="the read timed out"):
        pending(TimeoutError("the read timed out"), timeout).wait(1)


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("coin", "flipped"), "coin-flipped"),
        (("Coin", "a_b", "", "seed=3"), "coin-a-b-seed-3"),
        (("ratio", "0.5", "é"), "ratio-0-5"),
    ],
)
def test_artifact_keys_are_lower_case_letters_digits_and_dashes(parts, key):
    assert artifact_key(*parts) == key


def test_a_batch_has_one_artifact_key_whatever_its_seeds(plan):
    first, second = [unit for unit in plan.units if unit.step.name == "flipped"][:2]
    assert unit_key(first) == unit_key(second) == "coin-flipped-coin-loaded"


def test_cached_states_are_named_and_say_where(plan, store):
    records = [record_of(plan, cell, store, "cached", None) for cell in plan.cells]
    state = cached_state(records)
    assert state.is_completed() and state.name == "Cached" and state.data is records
    assert records[0].key[:8] in state.message
    assert state.message.endswith(f"and {len(records) - 8} more")


def test_the_command_that_runs_again_reads_back_as_the_same_settings():
    overrides = '{"coins": ["fair", "a b"], "flips": 7, "fail": "x=y", "bias": 0.5}'
    words = rerun_command(Run(COIN, "coin", "full", overrides, "/some where"))
    command = shlex.split(words)
    assert command[:3] == ["overparam", "run", COIN]
    assert command[3:7] == ["--profile", "full", "--store", "/some where"]
    config = load(COIN).config
    settings = [command[i + 1] for i, word in enumerate(command) if word == "--set"]
    assert dict(map(config.parse_setting, settings)) == {
        "coins": ["fair", "a b"],
        "flips": 7,
        "fail": "x=y",
        "bias": 0.5,
    }


@pytest.mark.parametrize("value", [["a,b", "c"], [], None, {"a": 1}, True, ["1"], "[x"])
def test_settings_of_every_kind_survive_the_command(value):
    kinds = {
        list: list[str],
        type(None): int | None,
        dict: dict[str, int],
        bool: bool,
        str: str,
    }
    config = type(
        "Config",
        (StudyConfig,),
        {"__annotations__": {"knob": kinds[type(value)]}, "knob": None, "__module__": __name__},
    )
    words = rerun_command(Run(COIN, "coin", "quick", json.dumps({"knob": value}), "s"))
    name, parsed = config.parse_setting(shlex.split(words)[-1])
    assert config(**{name: parsed}).knob == value


def test_a_flow_in_a_flow_uses_its_pool():
    with workers(2) as outer:
        with workers(4) as inner:
            assert inner is outer
        assert outer.size == 2
    with workers(1) as other:
        assert other is not outer


def test_a_stopped_pool_takes_nothing_and_lets_go_of_who_waits():
    pool = Workers(3)
    pool.stop()
    request = Request(RUN, 0, (), (), (), False)
    with pytest.raises(RunStopped):
        pool.submit(request, None)
    with pytest.raises(RunStopped):
        Pending(pool, request, None, Future()).wait(0.01)


def test_a_worker_runs_a_unit_and_refuses_other_code(plan, store):
    """One pool for both: starting it is what takes time."""
    run = Run(COIN, "coin", "quick", '{"seeds": 4}', store.address)
    unit = plan.units[0]
    request = Request.of(run, plan, unit, fresh=False)
    pool = Workers(1)
    try:
        (record,) = pool.submit(request, 240).wait(240)
        assert (record.state, record.key) == ("completed", plan.key(unit.cells[0]))
        batch = next(u for u in plan.units if u.step.name == "flipped")
        part = Request.of(run, plan, Unit(batch.step, batch.cells[1:]), fresh=False)
        assert part.unit == 1 and part.cells == (2, 3)
        assert [r.cell["seed"] for r in pool.submit(part, 240).wait(240)] == [1, 2]
        progress = pool.progress("coin", 1)
        assert progress is not None and progress.total == 2 and progress.description == "flips"
        stale = replace(request, keys=("0" * 32,))
        with pytest.raises(
            StepFailed, match=r"generate · coin · chances: .* changed while the run was going"
        ):
            pool.submit(stale, 240).wait(240)
    finally:
        pool.stop()
    assert Store.open(run.store).has(plan.ref(unit.cells[0]))
