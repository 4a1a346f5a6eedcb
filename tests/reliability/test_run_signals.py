"""Ctrl-C and SIGTERM end a run promptly; it says what is kept, and the same command goes on."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from reliability.campaign import (
    PROMPT,
    Reference,
    Run,
    Tally,
    finished,
    started,
    wait_until,
    words_for,
)

from overparam.store import Store

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Held:
    """A run of the steady toy that a file holds in the training of seed 2."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "hold"
        self.more = ("--set", f"hold={self.file}")
        self.reference = Reference.make(folder / "undisturbed", *self.more)

    def __enter__(self) -> "Held":
        self.file.touch()
        return self

    def __exit__(self, *_: object) -> None:
        self.file.unlink(missing_ok=True)
        self.reached.unlink(missing_ok=True)

    @property
    def reached(self) -> Path:
        return self.file.with_suffix(".reached")

    def wait(self, run: Run, place: Path) -> None:
        """Until the step is held, and the other two seeds are stored or held up behind it."""
        wait_until(lambda: self.reached.exists() or run.process.poll() is not None, "the hold")
        assert run.process.poll() is None, run.err


@pytest.fixture(scope="module")
def held(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    yield Held(tmp_path_factory.mktemp("held"))


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_run_that_is_told_to_end(held: Held, tmp_path: Path, number: signal.Signals) -> None:
    place = tmp_path / "store"
    with held, started(tmp_path / "run", *held.reference.words(place)) as run:
        held.wait(run, place)
        told = time.monotonic()
        run.signal(number)
        assert run.ended() == STATUS[number]
        assert time.monotonic() - told < PROMPT
    assert run.out == ""
    assert "what was finished is stored, the same command goes on from there" in run.err
    assert "Traceback" not in run.err
    assert list((place / "pins").iterdir()) == []  # `clean` may have what no page links to
    assert any(ref.step == "points" for ref in Store.open(place).refs())
    # what was interrupted is not on record as failed: the step did nothing wrong
    assert not (place / "failures").exists()
    held.reference.assert_mends(place, tmp_path / "again", Tally(), here=False)


def test_a_run_that_is_told_twice(held: Held, tmp_path: Path) -> None:
    """An impatient Ctrl-C during the clean-up: it still ends, and leaves a store that is whole."""
    place = tmp_path / "store"
    with held, started(tmp_path / "run", *held.reference.words(place)) as run:
        held.wait(run, place)
        run.signal(signal.SIGINT)
        time.sleep(0.3)
        if run.process.poll() is None:
            run.signal(signal.SIGINT)
        assert run.ended() != 0
    assert list(Store.open(place).verify()) == []


def test_before_anything_has_begun(tmp_path: Path) -> None:
    """A signal while libraries are still being imported."""
    with started(tmp_path / "run", *words_for(tmp_path / "store")) as run:
        time.sleep(0.5)
        run.signal(signal.SIGTERM)
        assert run.ended() in (143, -signal.SIGTERM)
    assert "Traceback" not in run.err
    status, _ = finished(tmp_path / "list", "list")
    assert status == 0
