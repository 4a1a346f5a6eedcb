"""The command line: the contract of its JSON, its exit status, and what it says of bad input."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.cli import main
from overparam.store import Store
from overparam.studies import load

TOYS = Path(__file__).parent.parent / "toys"
COIN = str(TOYS / "coin.py")
SMALL = ("--set", "seeds=3", "--workers", "1")
PATIENCE = 280


@dataclass
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self):
        """Standard output, which is JSON alone."""
        return json.loads(self.out)


@pytest.fixture
def cli(monkeypatch, capfd):
    """Run a command in this process; file descriptors are captured, those of workers included."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["overparam", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        return Done(caught.value.code or 0, out, err)

    return run


def command(*words, **environment):
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def refused(done, *words):
    """Exit 2 and one line on standard error that holds the words."""
    assert done.status == 2, done.err
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("overparam: ") and "Traceback" not in line
    for word in words:
        assert word in line


# list and show


def test_list_is_the_contract(cli):
    rows = cli("list", "--json").json
    (row,) = [row for row in rows if row["study"] == "parameter-sharing"]
    assert set(row) == {"study", "theme", "paper", "profiles", "extras", "available"}
    assert set(row["paper"]) == {"title", "venue", "year", "arxiv"}
    assert row["theme"] == "compression" and row["profiles"] == ["quick", "full"]
    assert row["available"] is True and row["extras"] == []


def test_list_shows_themes_and_papers(cli):
    done = cli("list", "--theme", "compression")
    assert done.status == 0 and done.out.startswith("compression\n")
    assert "In defense of parameter sharing" in done.out
    refused(cli("list", "--theme", "compresion"), "'compresion'", "themes: ", "compression")


def test_list_imports_neither_torch_nor_prefect():
    code = (
        "import sys\n"
        "from flows.cli import main\n"
        "sys.argv = ['overparam', 'list']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'prefect', 'pandas', 'pyarrow', 'numpy', 'scipy', 'altair'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "parameter-sharing" in done.stdout and done.stdout.endswith("\n[]\n")


def test_what_every_run_imports_is_free_of_torch():
    """A run whose steps are all cached takes as long as its imports."""
    code = (
        "import sys, flows.cli.running, flows.cli.tables, flows.study, tasks\n"
        "print(sorted({'torch', 'sklearn', 'torch_pruning'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stdout == "[]\n", done.stderr


def test_show_is_the_contract(cli):
    found = cli("show", COIN, "--json").json
    assert set(found) == {"study", "question", "fields", "steps", "claims"}
    assert {"name", "type", "default", "description", "allowed"} == set(found["fields"][0])
    assert found["steps"][1] == {
        "step": "flipped",
        "stage": "train",
        "reads": ["flips", "fail"],
        "upstream": ["chances"],
        "each": ["coin", "seed"],
    }
    assert found["claims"] == [
        {
            "claim": "A loaded coin shows more heads",
            "source": "Part IV",
            "arm": "loaded",
            "control": "fair",
            "decided_at": "quick",
        }
    ]
    (upstream, _) = (
        step["upstream"] for step in cli("show", TOYS / "reader.py", "--json").json["steps"]
    )
    assert upstream == ["toy-base/pretrained"]


def test_show_reads_well(cli):
    done = cli("show", COIN)
    assert done.status == 0
    for words in (
        "Does a loaded coin",
        "On Coins",
        "flips = 50",
        "(integer >= 1)",
        "once per coin x seed",
        "Part IV",
    ):
        assert words in done.out


# bad input


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "parameter-sharng"], ["'parameter-sharng'", "did you mean parameter-sharing?"]),
        (["show", "parameter_sharing"], ["did you mean parameter-sharing?"]),
        (["why", "zzzz"], ["'zzzz'", "studies: ", "parameter-sharing"]),
        (["run", "none.py"], ["no study file 'none.py'"]),
        (["run", __file__], ["declares no Study"]),
        (["run", COIN, "--set", "flip=3"], ["unknown field 'flip'", "did you mean flips"]),
        (["run", COIN, "--set", "flips=0"], ["flips=0", "integer >= 1"]),
        (["run", COIN, "--set", "flips=many"], ["flips='many'", "integer >= 1"]),
        (["run", COIN, "--set", "bias=1.5"], ["bias=1.5", "number > 0, < 1"]),
        (["run", COIN, "--set", "flips"], ["field=value"]),
        (["run", COIN, "--set", "coins=["], ["not JSON"]),
        (["run", COIN, "--profile", "fast"], ["'fast'", "'quick', 'full'"]),
        (["run", COIN, "--workers", "0"], ["--workers", "greater than or equal to 1"]),
        (["run", COIN, "--workers", "x"], ["--workers"]),
        (["run"], ["studies"]),
        (["run", COIN, "--no-such-option"], ["--no-such-option"]),
        (["lst"], ["'lst'", "list"]),
        (["reproduce"], ["--theme", "--all"]),
        (["reproduce", "--theme", "nothing"], ["'nothing'", "themes: "]),
        (["reproduce", "parameter-sharng"], ["did you mean parameter-sharing?"]),
        (["report", "parameter-sharng"], ["did you mean parameter-sharing?"]),
        (["verdicts", "parameter-sharng"], ["did you mean parameter-sharing?"]),
        (["clean", "--older-than", "-1"], ["--older-than"]),
        (["run", COIN, "--store", COIN], ["is a file", "--store"]),
        (["run", COIN, "--store", f"{COIN}/below"], ["is a file", "--store"]),
        (["why", COIN, "--store", COIN], ["is a file"]),
        (["clean", "--store", COIN], ["is a file"]),
        (["run", COIN, "--store", "nope://x"], ["nope"]),
        (["run", COIN, "--store", ""], ["store address"]),
    ],
    ids=lambda value: " ".join(value)[-60:].replace("/", "_") if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_exit_2(cli, prefect_api, words, expected):
    refused(cli(*words), *expected)


def test_a_store_that_can_not_be_written_to(cli, prefect_api):
    refused(cli("run", COIN, "--store", "/proc/nowhere"), "/proc/nowhere can't be written to")


def test_a_store_that_is_full(cli, prefect_api, tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(cli("run", COIN, "--store", tmp_path / "s"), "no space left", "overparam clean")


def test_an_extra_that_is_missing_is_told_with_the_pip_line(cli):
    refused(
        cli("run", TOYS / "extra.py"), "needs an extra", "pip install 'overparam[no-such-extra]'"
    )


def test_a_study_file_that_is_wrong_names_the_place(cli, tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text((TOYS / "coin.py").read_text().replace("chances, *, coin", "chance, *, coin"))
    refused(cli("run", file), "wrong.py:", "flipped", "'chance'", "did you mean chances?")
    file.write_text("def broken(:\n")
    refused(cli("show", file), "wrong.py", "invalid syntax")


def test_verbose_shows_the_traceback(cli):
    done = cli("why", "parameter-sharng", "--verbose")
    assert done.status == 2 and "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("overparam: unknown study")


def test_an_api_that_does_not_answer(tmp_path):
    done = command("run", COIN, "--store", tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api")
    refused(done, "http://127.0.0.1:9/api", "does not answer", "--ephemeral")


# run, why, clean: one store, a story


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store that the tests below fill, in order."""
    return tmp_path_factory.mktemp("cli") / "store"


def test_run_is_the_contract(cli, prefect_api, place):
    done = cli("run", COIN, "--store", place, *SMALL, "--json")
    assert done.status == 0, done.err
    (run,) = done.json["runs"]
    assert {
        "study", "profile", "config", "flow_run_id", "steps", "verdicts", "report",
    } <= set(run)  # fmt: skip
    assert run["study"] == "coin" and run["profile"] == "quick" and run["config"]["seeds"] == 3
    steps = {"step", "stage", "cell", "key", "state", "seconds", "rows", "bytes", "path"}
    assert all(steps <= set(step) for step in run["steps"])
    assert Counter(step["state"] for step in run["steps"]) == {"completed": 15}
    assert [step["stage"] for step in run["steps"]][-1] == "report"
    (verdict,) = run["verdicts"]
    fields = {"claim", "source", "verdict", "effect", "low", "high", "n", "region", "decided_at"}
    assert fields < set(verdict)
    assert {"name", "verdict", "effect", "low", "high"} <= set(verdict["control"])
    assert verdict["verdict"] == "reproduced" and verdict["region"] == [0.1, None]
    assert Path(run["report"]).is_file()


def test_a_rerun_is_cached_and_fresh_is_not(cli, prefect_api, place):
    done = cli("run", COIN, "--store", place, *SMALL)
    assert done.status == 0, done.err
    assert "15 cached" in done.out and "reproduced" in done.out
    assert "Report: " in done.out and "/runs/flow-run/" in done.out
    assert "flipped" in done.err  # a bar per step
    assert "Started a local" not in done.err


def test_a_step_that_fails_is_exit_1(cli, prefect_api, place):
    done = cli("run", COIN, "--store", place, *SMALL, "--set", "fail=loaded-1", "--json")
    assert done.status == 1
    (run,) = done.json["runs"]
    states = {
        (s["step"], s["cell"].get("coin"), s["cell"].get("seed")): s["state"] for s in run["steps"]
    }
    assert states["flipped", "loaded", 1] == "failed"
    assert states["flipped", "fair", 1] == "completed"
    assert states["shares", None, None] == "skipped"
    assert "Traceback" not in done.err


def test_why_is_the_contract(cli, place):
    done = cli("why", COIN, "--store", place, "--set", "seeds=3", "--set", "keep=7", "--json")
    assert done.status == 0
    rows = done.json["steps"]
    assert all({"step", "cell", "would_run", "changes"} == set(row) for row in rows)
    assert {row["step"] for row in rows if row["would_run"]} == {"shortened", "shares"}
    changes = next(row for row in rows if row["step"] == "shortened")["changes"]
    assert changes[0] == {"kind": "config", "what": "keep", "old": 20, "new": 7}
    text = cli("why", COIN, "--store", place, "--set", "seeds=3", "--set", "keep=7").out
    assert "config: keep was 20, is 7" in text and "stored" in text and "would run" in text


def test_clean_tells_first_removes_with_yes_and_spares_what_a_report_links_to(cli, place):
    store = Store.open(place)
    load(COIN).run(store, seeds=3, keep=7)  # of another run, which left no page
    before = set(store.refs())
    told = cli("clean", "--study", "coin", "--store", place, "--json").json
    assert told["removed"] is False and told["bytes"] > 0
    assert set(store.refs()) == before
    assert len(told["removals"]) == 7  # six cells of `shortened` and `shares`, with keep=7
    assert all({"path", "bytes", "why"} == set(row) for row in told["removals"])
    assert "Would remove" in cli("clean", "--study", "coin", "--store", place).out
    done = cli("clean", "--study", "coin", "--store", place, "--yes", "--json")
    assert done.json["removed"] is True and len(before) - len(set(store.refs())) == 7
    again = cli("why", COIN, "--store", place, "--set", "seeds=3", "--json").json
    assert not any(row["would_run"] for row in again["steps"])


def test_clean_spares_what_a_running_flow_reads(cli, tmp_path):
    from overparam.store import pinned_by_run

    store = Store.open(tmp_path)
    load(COIN).run(store, seeds=1)
    refs = list(store.refs())
    with pinned_by_run(store, refs):
        assert cli("clean", "--study", "coin", "--store", tmp_path, "--yes").status == 0
        assert list(store.refs()) == refs
    assert cli("clean", "--study", "coin", "--store", tmp_path, "--yes").status == 0
    assert not list(store.refs())


def test_a_kept_file_is_named_in_a_rerun_command_that_works(cli, prefect_api, tmp_path):
    """The command that a failure prints reads back: same study, store and settings."""
    done = cli("run", COIN, "--store", tmp_path, *SMALL, "--set", "fail=fair-0", "--json")
    error = next(s["error"] for s in done.json["runs"][0]["steps"] if s["state"] == "failed")
    import shlex

    words = shlex.split(error.splitlines()[-1].partition(": ")[2])
    assert words[:3] == ["overparam", "run", COIN]
    rows = cli("why", *words[2:], "--json").json["steps"]
    stored = {row["step"] for row in rows if not row["would_run"]}
    assert "chances" in stored and "flipped" in stored


def test_a_command_of_its_own_process_prints_json_alone(prefect_api, place):
    done = command("run", COIN, "--store", place, *SMALL, "--json")
    assert done.status == 0, done.err
    states = Counter(step["state"] for step in done.json["runs"][0]["steps"])
    assert states == {"cached": 15}
    assert done.err == ""


def test_ephemeral_leaves_complete_records(tmp_path, place):
    environment = {"PREFECT_HOME": str(tmp_path / "prefect")}
    words = ["run", TOYS / "toy_base.py", "--store", tmp_path / "s", "--set", "seeds=2"]
    done = command(*words, "--workers", "1", "--ephemeral", "--json", **environment)
    assert done.status == 0, done.err
    (run,) = done.json["runs"]
    with sqlite3.connect(tmp_path / "prefect" / "prefect.db") as database:
        rows = database.execute("select name, state_type from task_run").fetchall()
        flows = database.execute("select state_type from flow_run").fetchall()
    assert Counter(rows) == {
        ("train · toy-base · pretrained · seed=0", "COMPLETED"): 1,
        ("train · toy-base · pretrained · seed=1", "COMPLETED"): 1,
        ("report · toy-base", "COMPLETED"): 1,
    }
    assert flows == [("COMPLETED",)] and len(run["steps"]) == 3


# help, server


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["list", "show", "run", "reproduce", "why", "verdicts", "report", "clean", "server"]),
        (["run"], ["overparam run parameter-sharing", "--set", "--workers", "--fresh", "--json"]),
        (["reproduce"], ["overparam reproduce --all", "--fail-fast", "--theme"]),
        (["why"], ["overparam why parameter-sharing --set epochs=20"]),
        (["clean"], ["overparam clean --superseded", "--yes"]),
        (["verdicts"], ["overparam verdicts parameter-sharing --record"]),
        (["report"], ["overparam report parameter-sharing"]),
        (["server"], ["start", "stop", "status"]),
        (["list"], ["--theme", "--json"]),
        (["show"], ["--json"]),
    ],
    ids=lambda value: " ".join(value) or "overparam",
)
def test_help_reads_well_and_shows_examples(cli, words, expected):
    done = cli(*words, "--help")
    assert done.status == 0
    text = " ".join(done.out.split())
    for word in expected:
        assert word in text


def test_version(cli):
    from overparam import __version__

    assert cli("--version").out.strip() == f"overparam {__version__}"


def test_server_status_where_none_runs(cli, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "9")
    found = cli("server", "status", "--json").json
    assert found == {
        "running": False,
        "api": "http://127.0.0.1:9/api",
        "ui": "http://127.0.0.1:9",
    }
    assert cli("server", "status").out.startswith("Not running")
    assert "No local Prefect server runs" in cli("server", "stop").out


def test_server_status_where_one_runs(cli, prefect_url, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", prefect_url.split(":")[2].partition("/")[0])
    assert cli("server", "status", "--json").json["running"] is True
    assert "runs already" in cli("server", "start").out


@pytest.mark.slow
def test_a_run_starts_one_server_keeps_it_and_stop_ends_it(tmp_path):
    environment = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": ""}
    words = ("run", TOYS / "toy_base.py", "--store", tmp_path / "s", "--set", "seeds=1")
    try:
        first = command(*words, **environment)
        second = command(*words, **environment)
    finally:
        stopped = command("server", "stop", **environment)
    assert first.status == second.status == 0
    assert first.err.count("Started a local Prefect server: http://127.0.0.1:") == 1
    assert "Started" not in second.err and "2 cached" in second.out
    assert stopped.status == 0 and "Stopped." in stopped.out
    assert command("server", "status", "--json", **environment).json["running"] is False


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_keeps_what_is_finished(prefect_api, tmp_path):
    import signal
    import time

    text = (TOYS / "trouble.py").read_text().replace("timeout=8", "timeout=500")
    file = Path(shutil.copy(TOYS / "trouble.py", tmp_path / "trouble.py"))
    file.write_text(text)
    marks = tmp_path / "marks"
    marks.mkdir()
    words = ["run", file, "--store", tmp_path / "s", "--workers", "1"]
    words += ["--set", "hows=fine,hang", "--set", f"marker={marks}"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(PATIENCE * 10):
            if (marks / "hang").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "interrupted; what was finished is stored" in err and "Traceback" not in err
    assert [ref.step for ref in Store.open(tmp_path / "s").refs()] == ["mishap"]


def test_report_and_verdicts_take_a_study_file(cli, tmp_path):
    page = cli("report", COIN, "--store", tmp_path / "s")
    assert page.status == 0 and "nothing is stored" in page.out
    shown = cli("verdicts", COIN, "--json")
    assert shown.status == 0 and list(json.loads(shown.out).values()) == [[]]
