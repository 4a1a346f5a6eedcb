"""Seconds per study: its quick run and its tests, held against a budget in CPU time.

Budgets are for one thread of the machine on which :func:`calibration_seconds` takes a second; a
study that takes more than twice its share fails the session. A quick run is what a fixture that
gives ``Results`` does. Times are CPU times, so that a busy machine changes little.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from overparam.study import Results

STUDIES = Path(__file__).parent / "studies"
QUICK_SECONDS = 12.0
TESTS_SECONDS = 10.0
SHOWCASE = {"parameter_sharing": 40.0}
"""The study of README's first command may take longer in quick."""

LEEWAY = 2.0
LOOPS = 220
QUICK, TESTS, CALIBRATION = "quick_cpu", "tests_cpu", "calibration_cpu"


def calibration_seconds() -> float:
    """CPU seconds of a fixed piece of work like that of the studies: batched small networks.

    Gradients of grouped convolutions and of batched products go through memory as the studies do,
    so that a neighbour on the same core slows both alike.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(32, 40, 8, 8, generator=generator)
    kernels = torch.randn(80, 8, 3, 3, generator=generator, requires_grad=True)
    matrix = torch.randn(5, 100, 256, generator=generator)
    weights = torch.randn(5, 256, 256, generator=generator, requires_grad=True)
    started = time.process_time()
    for _ in range(LOOPS):
        convolved = torch.nn.functional.conv2d(images, kernels, groups=5, padding=1)
        loss = convolved.square().mean() + torch.tanh(torch.bmm(matrix, weights)).mean()
        loss.backward()
    return time.process_time() - started


class StudyBudget:
    """Collects times where tests run, and judges them where the session is summed up."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.calibration = 0.0
        self._mark = 0.0
        self._quick = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._mark = time.process_time()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: pytest.FixtureRequest) -> Any:
        started = time.process_time()
        value = yield
        if isinstance(value, Results) and STUDIES in request.path.parents:
            self._quick = time.process_time() - started
            self._calibrate()
        return value

    def _calibrate(self) -> None:
        """Measure the machine as it is now; the slowest that it was counts for the session."""
        before = time.process_time()
        self.calibration = max(self.calibration, calibration_seconds())
        self._mark += time.process_time() - before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        report = yield
        if STUDIES in item.path.parents:
            now = time.process_time()
            spent, self._mark = now - self._mark, now
            report.user_properties += [(QUICK, self._quick), (TESTS, spent - self._quick)]
            self._quick = 0.0
            if not self.calibration:
                self._calibrate()
            report.user_properties.append((CALIBRATION, self.calibration))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        times = dict(report.user_properties)
        if CALIBRATION in times:
            study = Path(report.nodeid.partition("::")[0]).stem.removeprefix("test_")
            spent = self.seconds[study.removesuffix("_study")]
            # Two workers may each have run it, if tests are not distributed by file.
            spent[QUICK] = max(spent[QUICK], times[QUICK])
            spent[TESTS] += times[TESTS]
            self.calibration = max(self.calibration, times[CALIBRATION])

    def over(self) -> list[str]:
        """What is over its budget, in words."""
        found = []
        for study, times in self.seconds.items():
            allowed = {QUICK: SHOWCASE.get(study, QUICK_SECONDS), TESTS: TESTS_SECONDS}
            for what, budget in allowed.items():
                limit = budget * LEEWAY * max(1.0, self.calibration)
                if times[what] > limit:
                    found.append(f"{study}: {what} {times[what]:.1f} s, at most {limit:.1f} s")
        return found

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput") and self.over():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.seconds:
            return
        terminalreporter.section("seconds per study (CPU)")
        terminalreporter.write_line(f"calibration loop {self.calibration:.2f} s")
        terminalreporter.write_line(f"{'study':<28}{'quick':>8}{'tests':>8}")
        for line in self._table():
            terminalreporter.write_line(line)
        for problem in self.over():
            terminalreporter.write_line(f"OVER BUDGET {problem}", red=True)

    def _table(self) -> Iterator[str]:
        for study, times in sorted(self.seconds.items()):
            yield f"{study:<28}{times[QUICK]:>8.1f}{times[TESTS]:>8.1f}"
