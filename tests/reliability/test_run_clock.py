"""The clock is set back between two runs of one store."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from reliability.campaign import Reference, finished

from overparam.store import Store

# Answers of the system's clock, earlier by what a file says at that moment; other clocks go on.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long back(void) {
    const char *name = getenv("CLOCK_BACK");
    FILE *file = name ? fopen(name, "r") : 0;
    long seconds = 0;
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}
int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(which, now);
    if (which == CLOCK_REALTIME) now->tv_sec -= back();
    return status;
}
time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
"""
DAY = 86400


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, which makes a clock that can be set")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "clock.so"


def written(place: Path) -> dict[str, str]:
    """When each run on record was, by its number."""
    rows = [json.loads(file.read_text()) for file in (place / "runs").iterdir()]
    return {row["number"]: row["written"] for row in rows}


def test_a_clock_set_back_by_a_day(reference: Reference, shim: Path, tmp_path: Path) -> None:
    place, back = tmp_path / "store", tmp_path / "back"
    shutil.copytree(str(reference.store.root), place)
    environment = {"LD_PRELOAD": str(shim), "CLOCK_BACK": str(back)}
    back.write_text(str(DAY))
    status, run = finished(tmp_path / "run", *reference.words(place), environment=environment)
    assert status == 0, run.err
    assert {step["state"] for step in run.runs[0]["steps"]} == {"cached"}
    first, second = written(place)[1], written(place)[2]
    assert second < first  # the clock was back, and the record is the newer one all the same
    # what is made with the clock set back is as good, and `clean` knows the running from the past
    words = [*reference.words(place), "--fresh"]
    status, run = finished(tmp_path / "fresh", *words, environment=environment)
    assert status == 0, run.err
    reference.assert_same(Store.open(place), run.runs[0])
    status, run = finished(
        tmp_path / "clean", "clean", "--store", place, "--yes", "--json", environment=environment
    )
    assert status == 0 and json.loads(run.out)["removals"] == []
    assert list(Store.open(place).verify()) == []
