"""Nothing from outside is unpickled or evaluated, leaves the store's root, or is served to others.

Damaged and planted artifacts one by one are in ``test_store_damage.py``; this is about whole runs,
and about the code.
"""

import ast
import hashlib
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from reliability.campaign import (
    PATIENCE,
    ROOT,
    STEADY,
    Reference,
    finished,
    sessions,
    started,
    wait_until,
    words_for,
)

from flows.cli import main
from flows.history import record_run
from flows.recorded import recorded_parameters
from overparam.errors import BadInput
from overparam.models.user_weights import read_state_dict
from overparam.store import Store, apply_clean, plan_clean

SOURCES = sorted(
    file for package in ("overparam", "tasks", "flows") for file in (ROOT / package).rglob("*.py")
)

# What can run code that is hidden in data.
UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
}
UNSAFE_METHODS = (".read_pickle", ".to_pickle", ".unsafe_load", ".full_load")
ALLOWED = {
    # the error's name alone, to tell of a file that is refused
    ("overparam/models/user_weights.py", "pickle"),
}


def found_unsafe(source: str, name: str = "x.py") -> list[tuple[str, str]]:
    """What in a file could run code from data: (file, what)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(name, alias.name) for alias in node.names if alias.name in UNSAFE_MODULES]
        if isinstance(node, ast.ImportFrom) and node.module in UNSAFE_MODULES:
            found.append((name, str(node.module)))
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        # by their bare names: re.compile, torch.compile and a model's eval() are something else
        if call in ("eval", "exec", "compile") or call.endswith(UNSAFE_METHODS):
            found.append((name, call))
        if call == "torch.load" and given.get("weights_only") != "True":
            found.append((name, "torch.load without weights_only=True"))
        if call in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
            found.append((name, "np.load without allow_pickle=False"))
        if given.get("allow_pickle") == "True" or given.get("shell") == "True":
            found.append((name, ast.unparse(node)[:80]))
        if call in ("os.system", "os.popen", "yaml.load"):
            found.append((name, call))
        if "persist_result" in given and given["persist_result"] != "False":
            found.append((name, "persist_result"))
        if {"result_serializer", "result_storage", "cache_key_fn"} & given.keys():
            found.append((name, "Prefect's result storage"))
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "eval('1')",
        "exec('1')",
        "pd.read_pickle(file)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "yaml.load(text)",
        "flow(persist_result=True)",
        "task(result_serializer='pickle')",
    ],
)
def test_the_walk_finds_what_it_looks_for(source: str) -> None:
    assert found_unsafe(source)


def test_code_neither_unpickles_nor_evaluates() -> None:
    assert len(SOURCES) > 100
    found = {
        row
        for file in SOURCES
        for row in found_unsafe(file.read_text("utf-8"), str(file.relative_to(ROOT)))
    }
    assert found <= ALLOWED


def test_prefect_keeps_no_results_of_flows_and_tasks() -> None:
    from flows.reproduce import reproduce
    from flows.study import study
    from tasks import TASKS, report

    for made in (study, reproduce, *TASKS.values(), report):
        assert made.persist_result is False, made.name
    for task in (*TASKS.values(), report):
        assert type(task.cache_policy).__name__ == "_None" and task.result_storage_key is None


# bombs


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.canary),)


def live_bomb(canary: Path) -> bytes:
    bomb = pickle.dumps(Bomb(canary))
    pickle.loads(bomb)  # noqa: S301
    assert canary.is_dir()
    canary.rmdir()
    return bomb


def test_a_store_holds_parquet_json_and_pages_alone(reference: Reference) -> None:
    files = [file for file in Path(str(reference.store.root)).rglob("*") if file.is_file()]
    assert len(files) > 30
    for file in files:
        data = file.read_bytes()
        match file.suffix:
            case ".parquet":
                assert data[:4] == data[-4:] == b"PAR1"
            case ".json":
                json.loads(data)
            case ".html":
                assert data.startswith(b"<!")
                data.decode("utf-8")
            case _:
                raise AssertionError(f"{file} is of no kind that a store has")


def test_no_results_lie_in_the_storage_of_prefect(prefect_api: str, tmp_path: Path) -> None:
    """(Of a flow that raises, Prefect itself keeps the exception there; no command reads it.)"""
    storage = tmp_path / "results"
    place = {"PREFECT_LOCAL_STORAGE_PATH": str(storage)}
    status, _ = finished(tmp_path / "files", *words_for(tmp_path / "store"), environment=place)
    assert status == 0
    assert not [file for file in storage.rglob("*") if file.is_file()]


def plant(root: Path, bomb: bytes) -> None:
    """Put a bomb into every place of a store from which a run reads."""
    digest = hashlib.sha256(bomb).hexdigest()
    for manifest in root.glob("artifacts/*/*/*/manifest.json"):
        content = json.loads(manifest.read_text())
        for name, table in content["tables"].items():
            (manifest.parent / table["file"]).unlink()
            planted = f"{name}-{digest[:16]}.parquet"
            (manifest.parent / planted).write_bytes(bomb)
            table.update(file=planted, sha256=digest, bytes=len(bomb))
        del content["seal"]
        manifest.write_text(json.dumps(content))
        scratch = root / "scratch" / manifest.parent.name
        scratch.mkdir(parents=True)
        for name in ("checkpoint.json", f"tensors-{digest}.safetensors", "state.pt"):
            (scratch / name).write_bytes(bomb)
        failure = root / "failures" / content["study"] / content["step"] / f"{content['key']}.json"
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_bytes(bomb)
    for folder in ("runs", "pins", "reports/steady"):
        for name in ("aaaa1111.json", "quick.html", "x.pkl"):
            (root / folder / name).write_bytes(bomb)


def test_a_run_on_a_store_full_of_bombs_unpickles_none(
    reference: Reference, tmp_path: Path
) -> None:
    canary, root = tmp_path / "canary", tmp_path / "store"
    shutil.copytree(str(reference.store.root), root)
    plant(root, live_bomb(canary))
    status, run = finished(tmp_path / "why", "why", STEADY, "--store", root, "--json")
    assert status == 0, run.err
    status, run = finished(tmp_path / "verify", "store", "verify", "--store", root)
    assert status == 1, run.err
    for words in (["clean"], ["compare", "aaaa", "bbbb"], ["report"]):
        finished(tmp_path / words[0], *words, "--store", root)
    # what is read is found damaged, set aside and made anew, from the first step on
    words = [*words_for(root), "--set", "rows=101"]
    status, run = finished(tmp_path / "run", *words)
    assert status == 0, run.err
    assert not canary.exists()


@pytest.mark.parametrize("name", ["net.pt", "net.bin", "net.safetensors"])
def test_planted_weights_are_refused(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    live_bomb(canary)
    torch.save({"weight": Bomb(canary)}, tmp_path / name, pickle_protocol=2)
    with pytest.raises(ValueError, match=name):
        read_state_dict(tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(canary), protocol=2))
    with pytest.raises(ValueError, match=name):
        read_state_dict(tmp_path / name)
    assert not canary.exists()


# names and paths


def evil_study(folder: Path) -> tuple[Path, Path]:
    """A study file that leaves a mark when it is loaded."""
    file, mark = folder / "evil.py", folder / "mark"
    source = Path(STEADY).read_text("utf-8")
    file.write_text(f"{source}\nPath({str(mark)!r}).mkdir()\n")
    return file, mark


@pytest.mark.parametrize("ephemeral", [True, False])
def test_a_planted_record_runs_no_code(
    store: Store, tmp_path: Path, prefect_api: str, ephemeral: bool
) -> None:
    """Who can write to a store can't make who reruns load a file."""
    file, mark = evil_study(tmp_path)
    run_id = "aaaa1111-0000-4000-8000-000000000000"
    row: dict[str, object] = {"study": "steady", "profile": "quick", "verdicts": []}
    record_run(store, run_id, str(file), {}, row)
    with pytest.raises(BadInput, match=r"names code to load.*evil\.py.*overparam run FILE"):
        recorded_parameters("aaaa1111", store.address, ephemeral=ephemeral)
    record_run(store, run_id, "parameter-sharing", {"deep": [{"model": f"{file}:study"}]}, row)
    with pytest.raises(BadInput, match="names code to load"):
        recorded_parameters("aaaa1111", store.address, ephemeral=ephemeral)
    record_run(store, run_id, "parameter-sharing", {"seeds": 3}, row)
    assert recorded_parameters("aaaa", store.address, ephemeral=True).settings == {"seeds": 3}
    assert not mark.exists()


def test_a_run_of_a_study_file_is_rerun_with_what_its_server_says(reference: Reference) -> None:
    run_id, address = reference.run["flow_run_id"], reference.store.address
    found = recorded_parameters(run_id[:8], address, ephemeral=False)
    assert found.studies == [STEADY] and found.store == address
    file = Path(str(reference.store.root), "runs", f"{run_id}.json")
    original = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(original) | {"name": "/tmp/evil.py"}))
        found = recorded_parameters(run_id[:8], address, ephemeral=False)
        assert found.studies == [STEADY]
    finally:
        file.write_text(original)


ESCAPES = ("../../../x", "/etc/passwd", "..", "a/b", "a\\b", "x\0y", "~root", "%2e%2e/x", "$(id)")


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize(
    "words",
    [
        ["rerun", "{}", "--ephemeral"],
        ["compare", "{}", "{}"],
        ["clean", "--study", "{}", "--yes"],
        ["verdicts", "{}"],
        ["why", "{}"],
        ["run", STEADY, "--profile", "{}"],
    ],
    ids=lambda words: words[0],
)
def test_names_that_lead_out_are_refused_or_name_nothing(
    words: list[str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "place" / "store"
    Store.open(root).check_writable()
    outside = tmp_path / "x" / "step" / "0123456789abcdef"
    outside.mkdir(parents=True)
    (outside / "kept").write_text("kept")
    long_ago = time.time() - 7200
    os.utime(outside / "kept", (long_ago, long_ago))
    monkeypatch.setattr(
        sys, "argv", ["overparam", *(w.format(name) for w in words), "--store", str(root)]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "not expected" not in capsys.readouterr().err
    assert (outside / "kept").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"place", "x"}
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["store"]


def test_cells_asked_for_are_values_not_paths(reference: Reference) -> None:
    from flows.wishes import Wish
    from overparam.studies import load

    plan = load(STEADY).plan()
    for name in ESCAPES:
        for wish in (Wish(only={"seed": name}), Wish(only={name: 0}), Wish(from_step=name)):
            with pytest.raises(BadInput):
                wish.check(plan)


def test_links_planted_in_a_store_lead_nowhere(reference: Reference, tmp_path: Path) -> None:
    """A link for an artifact's folder, or for its table, is not followed by what removes."""
    root, outside = tmp_path / "store", tmp_path / "outside"
    shutil.copytree(str(reference.store.root), root)
    store = Store.open(root)
    ref = next(store.refs(step="points", study="steady"))
    folder = Path(str(store.folder(ref)))
    shutil.copytree(folder, outside)
    shutil.rmtree(folder)
    folder.symlink_to(outside)
    (root / "artifacts" / "steady" / "linked").symlink_to(outside)
    before = {file.name for file in outside.iterdir()}
    apply_clean(plan_clean(store, older_than=timedelta(0)))
    apply_clean(plan_clean(store, study="steady"))
    assert {file.name for file in outside.iterdir()} == before
    assert store.quarantine(ref, "planted") is None and not folder.is_symlink()
    assert {file.name for file in outside.iterdir()} == before


# what is served


def listening(pid_or_session: int) -> set[str]:
    """The local addresses of the listening sockets of a session's processes."""
    inodes = set()
    for pid, session in sessions():
        if pid_or_session in (pid, session):
            for link in Path(f"/proc/{pid}/fd").glob("*"):
                try:
                    target = os.readlink(link)
                except OSError:
                    continue
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                raw = bytes.fromhex(fields[1].partition(":")[0])
                words = [raw[k : k + 4][::-1] for k in range(0, len(raw), 4)]
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_is_served_is_bound_to_loopback(tmp_path: Path) -> None:
    """``overparam serve`` with the server that it starts, neither of them told where to listen."""
    home = tmp_path / "prefect"
    environment = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_PORT": str(free_port()),
        "PREFECT_API_URL": "",
    }
    words = ["serve", "--store", tmp_path / "s", "--workers", 1, "--nightly", "", "--weekly", ""]
    stop = [sys.executable, "-c", "from flows.cli import main; main()", "server", "stop"]
    try:
        with started(tmp_path / "serve", *words, environment=environment) as run:
            wait_until(
                lambda: "Serving" in run.err or run.process.poll() is not None, "deployments"
            )
            assert run.process.poll() is None, run.err
            pid = int((home / "server.pid").read_text())
            served = wait_until(lambda: listening(pid), "the server's socket")
            assert served == {"127.0.0.1"}
            assert listening(run.process.pid) <= {"127.0.0.1"}
            told = time.monotonic()
            run.signal(signal.SIGTERM)
            run.wait()
            assert time.monotonic() - told < PATIENCE
    finally:
        subprocess.run(
            stop, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, check=False
        )
