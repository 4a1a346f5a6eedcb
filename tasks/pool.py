"""The worker pool: each call of a step runs in a killable process with one torch thread.

A worker that hangs is ended by the step's time-out, one that dies (exit, segmentation fault, out of
memory) fails its own unit alone. Workers return records, not objects; what they compute lies in
the store.
"""

import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from overparam.errors import said
from overparam.store import Store
from overparam.studies import load_from
from overparam.study import Plan, StepFailed, StepRecord, Unit, make_plan, run_unit

T = TypeVar("T")

PROGRESS_INTERVAL = 0.25
"""Seconds between two times that a worker tells its progress."""


@dataclass(frozen=True)
class Run:
    """What all units of one run share, in a form that travels to a worker.

    ``overrides`` is JSON; ``module`` is a module's name or the path of a study file.
    """

    module: str
    study: str
    profile: str
    overrides: str
    store: str
    device: str = "cpu"


@dataclass(frozen=True)
class Request:
    """One unit of a run, named by its index in the plan; cells by theirs, with their keys.

    ``fresh`` runs the cells whatever is stored.
    """

    run: Run
    unit: int
    cells: tuple[int, ...]
    keys: tuple[str, ...]
    lost: tuple[int, ...]
    fresh: bool

    @classmethod
    def of(cls, run: Run, plan: Plan, unit: Unit, *, fresh: bool) -> "Request":
        number = {cell: index for index, cell in enumerate(plan.cells)}
        whole = next(i for i, u in enumerate(plan.units) if unit.cells[0] in u.cells)
        return cls(
            run,
            whole,
            tuple(number[cell] for cell in unit.cells),
            tuple(plan.key(cell) for cell in unit.cells),
            tuple(sorted(number[cell] for cell in plan.lost)),
            fresh,
        )


class WorkerDied(RuntimeError):
    """The worker process ended without an answer."""


class RunStopped(RuntimeError):
    """The run was interrupted; what a worker was at says nothing about the step."""


class StepTimeout(RuntimeError):
    """The step ran longer than its time-out and was ended."""


@dataclass(frozen=True)
class Progress:
    """How far the innermost iteration of a step is; ``total`` may be unknown."""

    done: int
    total: int | None
    description: str


@dataclass(eq=False)
class Workers:
    """A pool of worker processes, started when the first unit needs it."""

    size: int
    preload: tuple[str, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _pool: ProcessPool | None = field(default=None, init=False)
    stopped: bool = field(default=False, init=False)
    _folder: "tempfile.TemporaryDirectory[str] | None" = field(default=None, init=False)

    def submit(self, request: Request, timeout: float | None) -> "Pending":
        """Hand a unit to a worker.

        Raises:
            RunStopped: the pool has been stopped.
        """
        with self._lock:
            if self.stopped:
                raise RunStopped("the run was stopped")
            if self._pool is None:
                self._start()
            assert self._pool is not None
            told = self._progress_file(request.run.study, request.unit)
            future = self._pool.schedule(_work, args=(request, told), timeout=timeout)
        return Pending(self, request, timeout, future)

    def progress(self, study: str, unit: int) -> Progress | None:
        """The newest progress of a unit, ``None`` before there is any."""
        if self._folder is None:
            return None
        try:
            return Progress(**json.loads(self._progress_file(study, unit).read_bytes()))
        except FileNotFoundError:
            return None

    def stop(self) -> None:
        """End all workers now; what they had not written is lost, what is stored stays."""
        with self._lock:
            self.stopped = True
            if self._pool is not None:
                self._pool.stop()  # type: ignore[no-untyped-call]
                self._pool.join()
                self._pool = None
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="overparam-progress-")
        self._pool = ProcessPool(max_workers=self.size, context=_context(self.preload))

    def _progress_file(self, study: str, unit: int) -> Path:
        """Where a worker tells its progress.

        A file, since a queue has a lock that a worker may hold when it is killed.
        """
        assert self._folder is not None
        return Path(self._folder.name) / f"{study}-{unit}.json"


@dataclass(frozen=True, eq=False)
class Pending:
    """A unit that a worker has; :meth:`wait` is called until it answers."""

    workers: Workers
    request: Request
    timeout: float | None
    future: ProcessFuture[list[StepRecord]]

    @property
    def progress(self) -> Progress | None:
        return self.workers.progress(self.request.run.study, self.request.unit)

    def wait(self, seconds: float) -> list[StepRecord] | None:
        """The records, or ``None`` if the worker needs longer than ``seconds``.

        Raises:
            StepTimeout, WorkerDied: the worker was ended, or ended itself.
            RunStopped: the run was interrupted meanwhile.
            Exception: what the step raised.
        """
        try:
            records: list[StepRecord] = self.future.result(timeout=seconds)
        except FutureTimeout as error:
            if not self.future.done():
                if self.workers.stopped:  # its future will never be done
                    raise RunStopped("the run was stopped") from None
                return None
            if self.timeout is None or error.args[:1] != ("Task timeout",):
                raise  # the step's own: a connection that timed out, say
            raise StepTimeout(
                f"ran longer than its time-out of {self.timeout:g} s and was ended"
            ) from None
        except ProcessExpired as error:
            code = error.exitcode
            how = (
                f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
            )
            hint = " (out of memory?)" if code == -9 else ""
            raise WorkerDied(f"the worker process ended {how}{hint}") from None
        except BrokenExecutor:
            raise WorkerDied("the pool of worker processes could not be started") from None
        return records


_active: ContextVar[Workers | None] = ContextVar("active_workers", default=None)


@contextmanager
def workers(size: int, preload: Iterable[str] = ()) -> Iterator[Workers]:
    """The pool of this run; a flow called by another flow uses that one's."""
    outer = _active.get()
    if outer is not None:
        yield outer
        return
    pool = Workers(size, tuple(preload))
    token = _active.set(pool)
    try:
        yield pool
    finally:
        _active.reset(token)
        pool.stop()


def _context(preload: tuple[str, ...]) -> BaseContext:
    """Fork from a clean server process that has imported the heavy libraries once.

    Forking this process itself is not safe: it runs threads. Where there is no fork server,
    workers start anew and import for themselves.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "overparam.study", "overparam.studies", *preload])
    return context


def _work(request: Request, told: Path) -> list[StepRecord]:
    """Runs in a worker: plan again, run the unit, return its records."""
    run = request.run
    plan = _plan(run.module, run.study, run.profile, run.overrides, request.lost)
    unit = plan.units[request.unit]
    cells = tuple(plan.cells[index] for index in request.cells)
    if request.keys != tuple(plan.key(cell) for cell in cells):
        raise StepFailed(f"{unit.name}: the code changed while the run was going; start it again")
    try:
        return run_unit(
            plan,
            Unit(unit.step, cells),
            Store.open(run.store),
            fresh=request.fresh,
            device=run.device,
            progress=partial(_report, told),
        )
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        # Only the step can have raised it: workers ignore Ctrl-C. The parent would obey it.
        raise StepFailed(f"{unit.name}: {said(error)}") from None
    except StepFailed as error:
        # Without what it came from, which would travel as text of any length and is not shown.
        raise StepFailed(str(error)) from None


@lru_cache(maxsize=8)
def _plan(module: str, study: str, profile: str, overrides: str, lost: tuple[int, ...]) -> Plan:
    plan = make_plan(load_from(module, study), profile, json.loads(overrides))
    for index in lost:
        plan.lose(plan.cells[index])
    return plan


def _report(
    told: Path,
    items: Iterable[T],
    *,
    total: int | None = None,
    description: str = "",
) -> Iterator[T]:
    """The progress wrapper in a worker: told to the parent a few times a second."""
    size = len(items) if total is None and isinstance(items, Sized) else total
    sent = time.monotonic()
    _tell(told, Progress(0, size, description))
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - sent > PROGRESS_INTERVAL:
            sent = time.monotonic()
            _tell(told, Progress(done, size, description))
    _tell(told, Progress(done, size, description))


def _tell(told: Path, progress: Progress) -> None:
    with suppress(OSError):  # a full disk for temporary files is no reason to end a training
        _put(told, progress)


def _put(told: Path, progress: Progress) -> None:
    new = told.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(asdict(progress)))
    new.replace(told)
