"""Runs in this process: what is cached, what runs again, what goes wrong and how it is told."""

import json
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch

from overparam.store import Store, StoreError, Weights, equal_tables, pinned
from overparam.studies import load
from overparam.study import (
    ConfigError,
    Diverged,
    StepFailed,
    Study,
    StudyConfig,
    artifact_refs,
    make_plan,
    run_unit,
)
from overparam.study.execution import single_threaded

TOYS = Path(__file__).parent.parent / "toys"


@pytest.fixture
def coin():
    return load(str(TOYS / "coin.py"))


def states(results, step=None):
    return [r.state for r in results.records if step in (None, r.step)]


def small(**steps):
    """A study of functions that read no study object."""
    study = Study("small", theme="toys", config=StudyConfig, question="?")
    for stage, function in steps.items():
        getattr(study, stage)(function)
    return study


def test_a_second_run_is_cached_and_reads_the_same(coin, store):
    first = coin.run(store, seeds=2)
    again = coin.run(store, seeds=2)
    assert first.ok and again.ok
    assert set(states(first)) == {"completed"} and set(states(again)) == {"cached"}
    assert [r.key for r in first.records] == [r.key for r in again.records]
    assert [r.seconds for r in first.records] == [r.seconds for r in again.records]
    assert equal_tables(first.tables("shares"), again.tables("shares"))
    record = first.records[1]
    assert (record.rows, record.tables["flips"]["rows"]) == (50, 50)
    assert Path(record.path, "manifest.json").is_file()
    assert json.loads(json.dumps(record.to_dict()))["cell"] == {"coin": "loaded", "seed": 0}


def test_only_new_seeds_run(coin, store):
    coin.run(store, seeds=2)
    calls = []
    results = coin.run(store, seeds=4, progress=lambda items, **_: calls.append(items) or items)
    assert calls == [(2,), (3,), (2,), (3,)]  # of the batches (0, 1, 2) and (3,), what is missing
    assert states(results, "flipped") == ["cached", "cached", "completed", "completed"] * 2
    assert states(results, "shares") == ["completed"]


def test_a_batch_equals_its_cells_alone(coin, store, tmp_path):
    together = coin.run(store, seeds=3)
    alone = Store.open(tmp_path / "alone")
    for seeds in (1, 2, 3):
        one_by_one = coin.run(alone, seeds=seeds)
    assert [r.key for r in together.records] == [r.key for r in one_by_one.records]
    for step in coin.steps:
        assert equal_tables(together.tables(step), one_by_one.tables(step))


def test_fresh_runs_everything_again(coin, store):
    first = coin.run(store, seeds=2)
    again = coin.run(store, seeds=2, fresh=True)
    assert set(states(again)) == {"completed"}
    assert [r.key for r in first.records] == [r.key for r in again.records]


def test_a_damaged_artifact_is_computed_again_with_one_warning(coin, store):
    first = coin.run(store, seeds=2)
    record = next(r for r in first.records if r.step == "flipped")
    (table,) = Path(record.path).glob("*.parquet")
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 0xFF
    table.write_bytes(data)
    with pytest.warns(UserWarning, match="damaged") as caught:
        again = coin.run(store, seeds=2, keep=19)
    assert len(caught) == 1
    assert "quarantine" in str(caught[0].message) and "computed again" in str(caught[0].message)
    assert again.ok and equal_tables(again.tables("flipped"), first.tables("flipped"))
    (reason,) = Path(store.root).glob("quarantine/coin/flipped/*/reason.txt")
    assert record.key in reason.read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(states(coin.run(store, seeds=2))) == {"cached"}


def test_a_missing_table_is_a_miss(coin, store):
    record = coin.run(store, seeds=2).records[1]
    next(Path(record.path).glob("*.parquet")).unlink()
    again = coin.run(store, seeds=2)
    assert states(again, "flipped").count("completed") == 1
    assert states(again, "shortened").count("completed") == 0


def test_a_batch_whose_table_lacks_its_column(store):
    def nets(*, seeds):
        return {"nets": pd.DataFrame({"value": [0.0] * len(seeds)})}

    study = Study("small", theme="toys", config=StudyConfig, question="?")
    study.train(each={"seed": "seeds"}, batch=4)(nets)
    with pytest.raises(
        StepFailed,
        match=r"nets · seed=0,1,2,3: ValueError: table 'nets' lacks the column 'seed'",
    ):
        study.run(store)


def test_a_batch_that_forgets_a_cell_or_adds_one(store):
    def nets(*, seeds):
        return pd.DataFrame({"seed": [*seeds[1:], 77]})

    study = Study("small", theme="toys", config=StudyConfig, question="?")
    study.train(each={"seed": "seeds"}, batch=5)(nets)
    with pytest.raises(
        StepFailed, match=r"rows for seed \[1, 2, 3, 4, 77\], not for \[0, 1, 2, 3, 4\]"
    ):
        study.run(store)
    assert not list(store.refs())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, "must give a table or a mapping of tables, not int"),
        (None, "must give a table or a mapping of tables, not NoneType"),
        ({}, "at least one table"),
        ({"a": 3}, "table 'a' is a int"),
        ({"../a": pd.DataFrame({"x": [1]})}, "../a"),
        ({"a": pd.DataFrame({"x": [object()]})}, "x"),
    ],
)
def test_a_step_that_returns_nonsense(store, given, words):
    def nets(*, seeds):
        return given

    with pytest.raises(StepFailed) as caught:
        small(train=nets).run(store)
    message = str(caught.value)
    assert message.startswith("train · small · nets: ") and words in message and "\n" not in message
    assert not list(store.refs())


def test_a_step_that_raises_names_cell_cause_and_place(store):
    study = load(str(TOYS / "trouble.py"))
    with pytest.raises(StepFailed) as caught:
        study.run(store, hows=("fine", "raise"))
    message = str(caught.value)
    assert message.startswith(
        "generate · trouble · mishap · how=raise: ValueError: a value that is not"
    )
    assert "trouble.py:" in message
    assert isinstance(caught.value.__cause__, ValueError)
    assert [ref.step for ref in store.refs()] == ["mishap"]  # what ran before stays


def test_a_diverged_model_is_told_as_such(store):
    study = load(str(TOYS / "trouble.py"))
    with pytest.raises(StepFailed, match="Diverged: the loss left the finite numbers") as caught:
        study.run(store, hows=("diverge",))
    assert isinstance(caught.value.__cause__, Diverged)


def test_an_io_error_passes_as_it_is(store, tmp_path):
    study = load(str(TOYS / "trouble.py"))
    with pytest.raises(ConnectionResetError):
        study.run(store, hows=("io",), marker=str(tmp_path))
    assert study.run(store, hows=("io",), marker=str(tmp_path)).ok


def test_bad_config_runs_nothing(coin, store):
    for overrides in ({"flips": 0}, {"flps": 3}, {"coins": []}):
        with pytest.raises(ConfigError):
            coin.run(store, **overrides)
    with pytest.raises(ConfigError):
        coin.run(store, profile="fast")
    assert not Path(store.root).exists()


def test_a_resumed_step_equals_the_uninterrupted_one(store, tmp_path):
    study = load(str(TOYS / "resume.py"))
    stop = tmp_path / "stop"
    stop.touch()
    with pytest.raises(StepFailed, match="interrupted"):
        study.run(store, stop_file=str(stop))
    assert list(Path(store.root).glob("scratch/*/checkpoint.json"))
    stop.unlink()
    resumed = study.run(store, stop_file=str(stop))
    frame = resumed.tables("descent")["descent"]
    assert frame["of_this_call"].tolist() == [False] * 3 + [True] * 3
    whole = study.run(Store.open(tmp_path / "other"), stop_file=str(stop))
    assert whole.tables("descent")["descent"]["of_this_call"].all()
    assert equal_tables(resumed.tables("descent"), whole.tables("descent"))
    assert not list(Path(store.root).glob("scratch/*/*"))  # the finished step needs none


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_results_do_not_depend_on_the_number_of_threads(tmp_path, threads):
    seen = []

    def sums(*, seeds):
        seen.append(torch.get_num_threads())
        generator = torch.Generator().manual_seed(seeds[0])
        matrix = torch.randn(600, 600, generator=generator)
        return pd.DataFrame({"sum": [(matrix @ matrix).sum().item(), matrix.sum().item()]})

    study = small(evaluate=sums)
    tables = []
    for count in (1, 4):
        threads(count)
        tables.append(study.run(tmp_path / str(count)).tables("sums"))
        assert torch.get_num_threads() == count  # and is left as it was
    assert seen == [1, 1]
    assert equal_tables(*tables)


def test_what_a_step_computes_while_it_is_written_runs_on_one_thread_too(store, threads):
    threads(4)
    seen = []

    def rows(*, seeds):
        for seed in seeds:
            seen.append(torch.get_num_threads())
            yield pa.record_batch({"seed": [seed]})

    assert len(small(generate=rows).run(store).tables("rows")["rows"]) == 5
    assert seen == [1] * 5


def test_threads_are_restored_after_an_error(threads):
    threads(3)
    with pytest.raises(KeyError), single_threaded():
        raise KeyError
    assert torch.get_num_threads() == 3


def test_cells_of_a_step_are_read_as_one_table(coin, store):
    results = coin.run(store, seeds=2)
    frame = results.tables("shortened")["shortened"]
    assert list(frame.columns) == ["coin", "seed", "head"] and len(frame) == 4 * 20
    assert frame.groupby(["coin", "seed"], sort=False).size().index.tolist() == [
        ("loaded", 0),
        ("loaded", 1),
        ("fair", 0),
        ("fair", 1),
    ]
    with pytest.raises(KeyError):
        results.tables("nothing")


def test_aligned_readers_get_the_matching_cells(store):
    study = load(str(TOYS / "cells.py"))
    results = study.run(store, seeds=2)
    frame = results.tables("scores")["scores"].set_index(["seed", "width"])
    assert frame["data_rows"].tolist() == [1] * 4
    # each net has a row per seed; width 2 comes at two depths
    assert frame["nets_rows"].tolist() == [4, 2, 4, 2] and set(frame["widths"]) == {1}


def test_a_shared_base_is_made_once_and_lies_with_its_owner(store):
    reader = load(str(TOYS / "reader.py"))
    first = reader.run(store, seeds=2)
    assert {ref.study for ref in store.refs()} == {"toy-base", "toy-reader"}
    assert first.tables("gains")["gains"]["weight"].tolist() == [3.0, 13.0]
    other = reader.run(store, seeds=2, shift=2.0)
    assert states(other, "pretrained") == ["cached", "cached"]
    base = reader.steps["tuned"].inputs["pretrained"].owner
    assert set(states(base.run(store, seeds=2))) == {"cached"}


def test_weights_travel_from_step_to_step(store):
    def nets(*, seeds):
        members = (({"seed": seed}, {"w": torch.full((2,), seed)}) for seed in seeds)
        return {"net": Weights.stack(members)}

    def sizes(nets, *, seeds):
        found = [nets.weights("net", seed=seed)["w"].sum().item() for seed in seeds]
        return pd.DataFrame({"sum": found})

    study = small(train=nets, evaluate=sizes)
    assert study.run(store).tables("sizes")["sizes"]["sum"].tolist() == [0, 2, 4, 6, 8]


def test_a_run_pins_what_it_reads_while_it_is_at_it(store, coin):
    seen = []

    def looking(iterable, **_):
        seen.append(pinned(store))
        return iter(iterable)

    results = coin.run(store, seeds=1, progress=looking)
    assert seen and seen[0] == set(artifact_refs(results.plan))
    assert not pinned(store)


def test_the_manifest_says_how_it_came_to_be(coin, store):
    results = coin.run(store, seeds=1)
    meta = store.manifest(results.plan.ref(results.plan.cells[1])).meta
    assert meta["config"] == {"flips": 50, "fail": ""}
    assert meta["cell"] == {"coin": "loaded", "seed": 0}
    assert meta["device"] == "cpu" and meta["profile"] == "quick"
    assert meta["versions"]["pandas"] == pd.__version__
    assert "coin:flipped" in meta["code_parts"] and "coin:study" not in meta["code_parts"]
    assert list(meta["upstream"]) == ["chances"]


def test_run_unit_leaves_what_is_there(coin, store):
    plan = make_plan(coin, "quick", {"seeds": 2})
    unit = plan.units[0]
    assert [r.state for r in run_unit(plan, unit, store)] == ["completed"]
    assert [r.state for r in run_unit(plan, unit, store)] == ["cached"]
    assert [r.state for r in run_unit(plan, unit, store, fresh=True)] == ["completed"]


def test_the_study_is_found_in_a_notebook_without_prefect(coin, store, tmp_path):
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from overparam.studies import load\n"
        f"results = load({str(TOYS / 'coin.py')!r}).run({str(tmp_path / 's')!r}, seeds=3)\n"
        "assert results.ok and results.verdict_frame()['verdict'].tolist() == ['reproduced']\n"
        "assert results.verdict_frame()['control'].tolist() == ['contradicted']\n"
        "print([m for m in ('prefect', 'torch', 'typer') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreError("no space left"), StoreError),
        (OSError(28, "No space left on device"), OSError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError),
        (torch.OutOfMemoryError("of the device"), MemoryError),
    ],
)
def test_what_is_not_the_steps_own_doing_is_not_told_as_its_failure(store, error, kind):
    """A `StepFailed` goes on record and is not tried again; these may go well another time."""

    def nets(*, seeds):
        raise error

    with pytest.raises(kind):
        small(train=nets).run(store)


def test_a_reader_of_which_no_cell_fits_is_refused_before_anything_runs(store):
    def nets(*, seed):
        raise AssertionError("must not run")

    study = Study("small", theme="toys", config=StudyConfig, question="?")
    study.train(each={"seed": "seeds"})(nets)

    def readers(nets, *, seed):
        raise AssertionError("must not run")

    study.evaluate(each=lambda config: [{"seed": -1}])(readers)
    with pytest.raises(ConfigError, match=r"readers · seed=-1 reads 'nets'.*seed=0; seed=1"):
        study.run(store)
