"""Whatever lies in a store or is given as a value: an error or the right result, nothing else."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.history import find_record, record_run, records
from overparam.errors import BadInput
from overparam.store import (
    ArtifactRef,
    Manifest,
    Store,
    known_failure,
    pinned,
    plan_clean,
    record_failure,
)
from overparam.studies import load
from overparam.study import ConfigError
from tasks.stages import as_setting

TOYS = Path(__file__).parents[1] / "toys"
REF = ArtifactRef("study", "step", "0123456789abcdef")
FRAME = pd.DataFrame({"x": range(300), "y": [f"row {k}" for k in range(300)]})
META = {"cell": {"seed": 3, "method": "mag"}, "seconds": 0.25, "upstream": ["aa", {"b": None}]}

FEW, MANY = 300, 10_000
FILES, MANY_FILES = 150, 3000
KINDS = ("damaged", "planted", "user")
SECONDS = 240


def fuzz(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


words = st.text(max_size=20) | st.sampled_from(["../x", "/etc/passwd", "\0", "con", "nan", "[", ""])
scalars = (
    st.none() | st.booleans() | st.integers() | st.integers(-(10**40), 10**40) | st.floats() | words
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4)
)


def places(content: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    if here:
        yield here
    named: Any = ()
    if isinstance(content, dict):
        named = content.items()
    elif isinstance(content, list):
        named = enumerate(content)
    for name, inner in named:
        yield from places(inner, (*here, name))


def changed(content: Any, place: tuple[Any, ...], how: str, value: Any) -> Any:
    content = json.loads(json.dumps(content))
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    if how == "delete":
        del inner[place[-1]]
    elif how == "add" and isinstance(inner, dict):
        inner[str(value)] = value
    else:
        inner[place[-1]] = value
    return content


@st.composite
def disturbed(draw: st.DrawFn, original: bytes) -> bytes:
    """Bytes near those of a JSON file: one value changed, bytes changed, cut, or all else."""
    how = draw(st.sampled_from(["replace", "delete", "add", "bytes", "cut", "twice", "else"]))
    if how in ("replace", "delete", "add"):
        content = json.loads(original)
        place = draw(st.sampled_from(list(places(content))))
        return json.dumps(changed(content, place, how, draw(values))).encode()
    if how == "bytes":
        data = bytearray(original)
        for _ in range(draw(st.integers(1, 3))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        return bytes(data)
    if how == "cut":
        return original[: draw(st.integers(0, len(original) - 1))]
    if how == "twice":
        return original + original[: draw(st.integers(0, len(original)))]
    return (
        draw(st.binary(max_size=200)) if draw(st.booleans()) else json.dumps(draw(values)).encode()
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.open(tmp_path_factory.mktemp("fuzz") / "store")
    store.write(REF, {"t": FRAME}, meta=META)
    return store


def fuzz_manifests(store: Store, count: int) -> None:
    file = Path(str(store.folder(REF)), "manifest.json")
    original = file.read_bytes()
    written = Manifest.model_validate_json(original)
    accepted = 0

    @fuzz(count)
    @given(disturbed(original))
    def check(data: bytes) -> None:
        nonlocal accepted
        file.write_bytes(data)
        found = store.manifest(REF)
        assert (found is None) == (store.damaged(REF) is not None)
        assert bool(list(store.verify())) == (found is None)
        if found is not None:
            accepted += 1
            assert found.model_copy(update={"seal": written.seal}) == written
            pd.testing.assert_frame_equal(store.read(REF)["t"], FRAME)
        plan_clean(store)

    try:
        check()
    finally:
        file.write_bytes(original)
    assert accepted < count / 2


def test_manifests(place: Store) -> None:
    fuzz_manifests(place, FEW)


@pytest.mark.slow
def test_ten_thousand_manifests(place: Store) -> None:
    fuzz_manifests(place, MANY)


def fuzz_side_files(store: Store, count: int) -> None:
    """Pins, failures on record, records of runs."""
    root = Path(str(store.root))
    row = {"name": "claim", "claim": "It holds", "verdict": "reproduced"}
    run = {"study": "steady", "profile": "quick", "verdicts": [row], "steps": [], "config": {}}
    record_run(store, "aaaa1111", "steady", {"seeds": 3}, run)
    record_failure(store, REF, "it raised", {"torch": "1"})
    pin = root / "pins" / "run-1-2.json"
    pin.parent.mkdir(exist_ok=True)
    made = {"host": "elsewhere", "pid": 1, "made": "2026-01-01T00:00:00+00:00", "refs": [str(REF)]}
    pin.write_text(json.dumps(made))
    page = root / "pins" / "page-x.json"
    page.write_text(json.dumps({"page": str(root / "reports" / "x.html"), "refs": [str(REF)]}))
    failure = root / "failures" / REF.study / REF.step / f"{REF.key}.json"
    record = root / "runs" / "aaaa1111.json"
    files = {file: file.read_bytes() for file in (pin, page, failure, record)}
    cases = st.one_of(*(st.tuples(st.just(f), disturbed(text)) for f, text in files.items()))

    @fuzz(count)
    @given(cases)
    def check(case: tuple[Path, bytes]) -> None:
        file, data = case
        file.write_bytes(data)
        assert pinned(store) <= {REF} or file in (pin, page)
        assert known_failure(store, REF, {"torch": "1"}) is None or file.exists()
        assert {found.id for found in records(store)} <= {"aaaa1111"} or file == record
        try:
            find_record(store, "aaaa1111")
        except BadInput:
            assert file == record
        plan_clean(store)
        file.write_bytes(files[file])

    check()


def test_pins_failures_and_records(place: Store) -> None:
    fuzz_side_files(place, FEW)


@pytest.mark.slow
def test_ten_thousand_pins_failures_and_records(place: Store) -> None:
    fuzz_side_files(place, MANY)


# config values

STUDIES = ("parameter-sharing", "matrix-sensing", str(TOYS / "coin.py"), str(TOYS / "steady.py"))


def fuzz_configs(count: int) -> None:
    configs = [load(name).config for name in STUDIES]
    choices = [(config, name) for config in configs for name in (*config.model_fields, "nope")]

    @fuzz(count)
    @given(st.sampled_from(choices), values)
    def check(choice: tuple[Any, str], value: Any) -> None:
        config, name = choice
        try:
            made = config.for_profile("quick", {name: value})
        except ConfigError as error:
            assert str(error)
            return
        # what is accepted is finite, travels as JSON, and makes the same config again
        kept = json.loads(json.dumps(made.model_dump(mode="json"), allow_nan=False))
        assert config(**kept) == made
        for field in config.model_fields:
            json.dumps(made.content(field), allow_nan=False)

    check()


@pytest.mark.parametrize("value", ["~/\0", "", "x\0y", "/nowhere"])
def test_a_file_that_can_not_be_named(value: str) -> None:
    with pytest.raises(ConfigError, match="digits_file"):
        load("parameter-sharing").config.for_profile("quick", {"digits_file": value})


def test_config_values() -> None:
    fuzz_configs(FEW)


@pytest.mark.slow
def test_ten_thousand_config_values() -> None:
    fuzz_configs(MANY)


def fuzz_settings(count: int) -> None:
    configs = [load(name).config for name in STUDIES]
    fields = sorted({f"{name}=" for config in configs for name in config.model_fields})
    texts = st.tuples(st.sampled_from([*fields, "", "=", "nope="]), st.text(max_size=30) | words)

    @fuzz(count)
    @given(st.sampled_from(configs), texts)
    def check(config: Any, text: tuple[str, str]) -> None:
        try:
            name, value = config.parse_setting("".join(text))
            made = config.for_profile("quick", {name: value})
        except ConfigError:
            return
            return
        # the command that a failure prints makes the same config
        kept = made.model_dump(mode="json")[name]
        again = dict([config.parse_setting(f"{name}={as_setting(kept)}")])
        assert config.for_profile("quick", again) == made

    check()


def test_settings_of_the_command_line() -> None:
    fuzz_settings(FEW)


@pytest.mark.slow
def test_ten_thousand_settings_of_the_command_line() -> None:
    fuzz_settings(MANY)


# Parquet files, in a process of their own: whoever reads one may crash

READER = """
import hashlib, json, sys, warnings
from pathlib import Path
import numpy, pandas
from overparam.datasets import read_table
from overparam.store import ArtifactRef, DamagedArtifact, Store
from overparam.store.manifest import Manifest
root, kinds, count = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3])
ref = ArtifactRef("study", "step", "0123456789abcdef")
store = Store.open(root)
expected = store.read(ref)["t"]
folder = Path(str(store.folder(ref)))
manifest, (table,) = folder / "manifest.json", folder.glob("t-*.parquet")
text, data = manifest.read_text(), table.read_bytes()
def disturbed(rng):
    changed = bytearray(data)
    how = rng.integers(4)
    if how == 0:
        return bytes(changed[: rng.integers(len(changed))])
    if how == 1:  # the footer, which says where everything is
        places = len(changed) - 1 - rng.integers(min(600, len(changed)), size=rng.integers(1, 5))
    else:
        places = rng.integers(len(changed), size=rng.integers(1, 9))
    for place in places:
        changed[place] = rng.integers(256)
    return bytes(changed)
for number, kind in ((n, kind) for kind in kinds for n in range(count)):
    print(kind, number, flush=True)
    wrong = disturbed(numpy.random.Generator(numpy.random.Philox(key=number)))
    if wrong == data:
        continue
    if kind == "user":
        file = root / "user.parquet"
        file.write_bytes(wrong)
        try:
            assert isinstance(read_table(file), pandas.DataFrame)
        except Exception:  # what pyarrow or pandas say of it
            pass
        continue
    table.write_bytes(wrong)
    if kind == "planted":  # hash, size and name made to fit: as whoever plants it would
        content = json.loads(text)
        digest = hashlib.sha256(wrong).hexdigest()
        name = f"t-{digest[:16]}.parquet"
        content["tables"]["t"].update(file=name, sha256=digest, bytes=len(wrong))
        del content["seal"]
        manifest.write_text(json.dumps(content))
        (folder / name).write_bytes(wrong)
    try:
        for read in (lambda: store.read(ref)["t"], lambda: list(store.read(ref).batches("t"))):
            read()
            assert kind == "planted", "a wrong answer"
    except DamagedArtifact:
        pass
    except Exception:
        assert kind == "planted", "not seen as damaged"
    if kind == "planted":
        (folder / name).unlink(missing_ok=True)
        manifest.write_text(text)
    table.write_bytes(data)
print("whole")
"""


def fuzz_parquet(folder: Path, count: int) -> None:
    root = folder / "store"
    store = Store.open(root)
    store.write(REF, {"t": FRAME}, meta=META)
    done = subprocess.run(
        [sys.executable, "-c", READER, str(root), ",".join(KINDS), str(count)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-20:]}\n{done.stderr[-3000:]}"
    assert done.stdout.endswith("whole\n")


def test_parquet_files(tmp_path: Path) -> None:
    fuzz_parquet(tmp_path, FILES)


@pytest.mark.slow
def test_thousands_of_parquet_files(tmp_path: Path) -> None:
    fuzz_parquet(tmp_path, MANY_FILES)


def test_the_readers_of_this_test_read_what_is_right(tmp_path: Path) -> None:
    from overparam.datasets import read_table

    FRAME.to_parquet(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.parquet"), FRAME)
    assert pyarrow.parquet.read_table(tmp_path / "x.parquet").num_rows == len(FRAME)
