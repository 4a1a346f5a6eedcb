"""``overparam compress`` from the command line: what it finds, its JSON, its files, bad input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from flows.cli import main
from overparam.models import seeded

TOYS = Path(__file__).parent.parent / "toys"
NET = TOYS / "own_net.py"
FAST = ("--epochs", "6", "--finetune-epochs", "2", "--seeds", "2", "--workers", "1")
METHODS = f"magnitude,int8,magnitude+int8,+{NET}:every_other,+{NET}:fussy,+{NET}:breaks"


@pytest.fixture(scope="module")
def run_cli(request):
    """Run a command in this process; returns its exit status, output and errors."""

    def run(capfd, monkeypatch, *words):
        monkeypatch.setattr(sys, "argv", ["overparam", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, *capfd.readouterr()

    return run


@pytest.fixture
def cli(run_cli, capfd, monkeypatch):
    return lambda *words: run_cli(capfd, monkeypatch, "compress", *words)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("compress")


@pytest.fixture(scope="module")
def done(place, prefect_api):
    """One run, in a process of its own."""
    words = [
        "compress", "--model", f"{NET}:make", "--data", f"{NET}:data", "--methods", METHODS,
        "--ratios", "2,4", "--budget", "accuracy>=0.5*dense", "--store", str(place / "store"),
        *FAST, "--json",
    ]  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout, run.stderr
    return run.returncode, json.loads(run.stdout), run.stderr


def cell(found, method, **values):
    return [
        row
        for row in found["cells"]
        if row["method"] == method and all(row[name] == value for name, value in values.items())
    ]


def test_cells_are_measured_skipped_or_failed_and_none_is_missing(done):
    status, found, _ = done
    assert status == 1  # one method breaks
    assert len(cell(found, "magnitude", state="completed")) == 4
    assert len(cell(found, "int8", state="completed")) == 1  # no seed, no ratio
    assert len(cell(found, "magnitude+int8", state="completed")) == 4
    assert len(cell(found, f"+{NET}:every_other", state="completed")) == 2
    skipped = cell(found, f"+{NET}:fussy", state="skipped", ratio=4)
    assert skipped[0]["reason"] == "no layer of a kind that ratio 4 suits"
    failed = cell(found, f"+{NET}:breaks", state="failed")
    assert len(failed) == 4 and failed[0]["reason"].startswith("RuntimeError: out of luck (")
    assert "Run again" not in failed[0]["reason"]


def test_numbers_are_those_of_the_files(done):
    _, found, _ = done
    dense = found["dense"]
    parameters = 4 * 24 + 24 + 24 * 24 + 24 + 24 * 3 + 3
    assert dense["parameters"] == parameters
    for row in cell(found, "magnitude", state="completed"):
        assert row["nonzeros"] == round(parameters / row["ratio"])
        assert row["bytes"] <= dense["bytes"]
        assert set(row["latency_ratio"]) == {"1", "64"}
        assert 0 <= row["worst_class"] <= row["accuracy"] <= 1 and 0 <= row["ece"] <= 1
    (packed,) = cell(found, "int8", state="completed")
    assert packed["format"] == "packed int8" and packed["bits"] == 8
    assert packed["bytes"] < dense["bytes"]
    assert packed["agreement"] > 0.9


def test_the_answer_and_the_front(done):
    _, found, _ = done
    assert found["answer"].startswith("For your budget (accuracy ≥ 0.5 × dense): ")
    chosen = [row for row in found["front"] if row["chosen"]]
    assert len(chosen) == 1 and chosen[0]["method"] == found["pick"]["method"]
    kept = [row for row in found["front"] if row["meets"]]
    assert chosen[0]["bytes"] == min(row["bytes"] for row in kept)
    assert len(pd.read_parquet(found["frontier"])) == len(found["front"])
    page = Path(found["report"]).read_text()
    assert "Accuracy against bytes on disk" in page and "By your budget" in page


def test_pick_writes_files_that_load_without_overparam(cli, done, place):
    folder = place / "small"
    status, out, _ = cli(
        "--model", f"{NET}:make", "--data", f"{NET}:data", "--methods", "magnitude,int8",
        "--ratios", "2,4", "--store", place / "store", *FAST, "--pick", folder, "--json",
    )  # fmt: skip
    found = json.loads(out)
    assert status == 0
    names = {Path(file).name for file in found["files"]}
    assert names == {"model.safetensors", "model.json", "load_model.py", "preparation.json"}
    code = (
        "import sys; sys.path.insert(0, '.'); import torch\n"
        "from torch import nn\n"
        "from load_model import load\n"
        "make = lambda: nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(),"
        " nn.Linear(24, 3))\n"
        "print(load(make, '.')(torch.zeros(2, 4)).shape)\n"
        "assert not [m for m in sys.modules if m.startswith('overparam')]\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert loaded.stdout.strip() == "torch.Size([2, 3])", loaded.stderr


def test_a_dense_model_that_diverges_is_the_reason_of_all(cli, tmp_path):
    status, out, _ = cli(
        "--model", f"{NET}:make", "--data", f"{NET}:data", "--methods", "int8,magnitude",
        "--ratios", "2", "--store", tmp_path / "store", *FAST, "--lr", "1e10",
        "--optimizer", "sgd", "--json",
    )  # fmt: skip
    found = json.loads(out)
    assert status == 1 and found["dense"]["state"] == "failed"
    reasons = {row["reason"] for row in found["cells"]}
    assert reasons == {found["dense"]["reason"]} and len(found["cells"]) == 3
    assert found["dense"]["reason"].startswith("dense failed: Diverged: the loss is ")
    assert found["answer"] == f"There is no answer: {found['dense']['reason']}"
    assert found["frontier"] == "" and found["pick"] is None


def test_prices_are_told_in_their_units(cli, tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 4))
    frame = pd.DataFrame(x, columns=list("abcd")).assign(price=2e4 + 1e4 * x[:, 0])
    frame.to_parquet(tmp_path / "prices.parquet")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make(): return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))\n"
    )
    status, out, err = cli(
        "--model", f"{tmp_path}/net.py:make", "--data", tmp_path / "prices.parquet",
        "--label", "price", "--methods", "int8,magnitude+distill", "--ratios", "1.5",
        "--lr", "0.02", "--batch-size", "32", "--epochs", "20", "--finetune-epochs", "2",
        "--seeds", "1", "--workers", "1", "--store", tmp_path / "store", "--pick",
        tmp_path / "small", "--json",
    )  # fmt: skip
    assert status == 0, err
    found = json.loads(out)
    spread = frame["price"].std()
    assert 1 < found["dense"]["rmse"] < spread / 4
    assert all(row["rmse"] < spread / 2 for row in found["cells"])
    told = json.loads((tmp_path / "small" / "preparation.json").read_text())
    assert abs(told["target"]["mean"][0] - frame["price"].mean()) < spread / 4
    assert told["target"]["deviation"][0] == pytest.approx(spread, rel=0.2)


def test_where_every_method_is_skipped_the_dense_model_is_told(cli, tmp_path):
    status, out, err = cli(
        "--model", f"{NET}:make", "--data", f"{NET}:data", "--methods", f"+{NET}:fussy",
        "--ratios", "2", "--store", tmp_path / "store", *FAST, "--json",
    )  # fmt: skip
    assert status == 0, err
    found = json.loads(out)
    assert {row["state"] for row in found["cells"]} == {"skipped"} and found["front"] == []
    assert found["dense"]["parameters"] > 0 and found["answer"].startswith("Nothing was measured")
    assert "no layer of a kind that ratio 2 suits" in Path(found["report"]).read_text()


def test_a_folder_that_is_not_empty_is_not_written_to(cli, place):
    (place / "full").mkdir(exist_ok=True)
    (place / "full" / "precious").write_text("keep")
    status, _, err = cli("--sample", "digits", "--pick", place / "full")
    assert status == 2 and "is not an empty folder" in err


def test_a_rerun_is_cached_and_one_more_ratio_runs_alone(cli, done, place):
    status, out, err = cli(
        "--model", f"{NET}:make", "--data", f"{NET}:data", "--methods", "magnitude,int8",
        "--ratios", "2,4,8", "--store", place / "store", *FAST,
    )  # fmt: skip
    assert status == 0, err
    # Two seeds of the new ratio, and what reads all cells: measured, front, report.
    assert "compress (quick): 7 cached, 5 completed" in out
    assert "magnitude at ratio 8" in out and "For your budget" in out


# ------------------------------------------------------------------ bad input


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    x = np.random.default_rng(0).normal(size=(90, 4))
    frame = pd.DataFrame(x, columns=list("abcd")).assign(label=x[:, :3].argmax(1))
    frame.to_parquet(folder / "train.parquet")
    frame.assign(label=0).to_parquet(folder / "one.parquet")
    frame.assign(a=np.nan).to_parquet(folder / "nan.parquet")
    frame.assign(label=9).to_parquet(folder / "unseen.parquet")
    frame.drop(columns="label").to_parquet(folder / "bare.parquet")
    sys.path.insert(0, str(TOYS))
    import own_net

    state = seeded(own_net.make, 1).state_dict()
    save_file(state, folder / "good.safetensors")
    save_file({**state, "0.weight": torch.zeros(3, 3)}, folder / "shape.safetensors")
    save_file({"other": torch.zeros(2)}, folder / "names.safetensors")
    torch.save(torch.nn.Linear(2, 2), folder / "pickled.pt")
    (folder / "raises.py").write_text("x = undefined\n")
    return folder


GOOD = {"--model": f"{NET}:make", "--data": "{files}/train.parquet"}
BAD = {
    "nothing": ({"--model": None, "--data": None}, "compress takes --model"),
    "no data": ({"--data": None}, "model needs either data"),
    "no file": ({"--model": "gone.py:make"}, "there is no file 'gone.py'"),
    "raising file": ({"--model": "{files}/raises.py:make"}, "raises.py does not import: NameError"),
    "no module there": ({"--model": "no.such:make"}, "no.such does not import: ModuleNotFound"),
    "no factory": ({"--model": f"{NET}:missing"}, "has no 'missing'; it has"),
    "not callable": ({"--model": f"{NET}:number"}, "is a int, not callable"),
    "raising": ({"--model": f"{NET}:broken"}, "raised RuntimeError: no such checkpoint"),
    "no module": ({"--model": f"{NET}:text"}, "gave a str; allowed: a torch.nn.Module"),
    "no parameters": ({"--model": f"{NET}:empty"}, "has no parameters"),
    "outputs": (
        {"--model": f"{NET}:wide"},
        "outputs of shape (4, 5)",
        "expected (4, 3) for 3 classes",
    ),
    "inputs": ({"--model": f"{NET}:deaf"}, "raises on a batch of shape (4, 4)"),
    "weights' shapes": (
        {"--weights": "{files}/shape.safetensors"},
        "0.weight is (3, 3), the model wants (24, 4)",
    ),
    "weights' names": (
        {"--weights": "{files}/names.safetensors"},
        "missing: 0.weight",
        "not in the model: other",
    ),
    "pickled weights": ({"--weights": "{files}/pickled.pt"}, "weights_only=True"),
    "no weights": ({"--weights": "{files}/gone.pt"}, "there is no file"),
    "nan": ({"--data": "{files}/nan.parquet"}, "infinite values in 'a' (90)"),
    "one class": ({"--data": "{files}/one.parquet"}, "holds one class"),
    "no label": ({"--data": "{files}/bare.parquet"}, "which column is the label"),
    "label": ({"--label": "kind"}, "has no column 'kind'"),
    "unseen": ({"--test": "{files}/unseen.parquet"}, "training does not have: 9"),
    "shape": ({"--shape": "3,3"}, "of 9 numbers"),
    "ratio": ({"--ratios": "1"}, "ratios"),
    "method": ({"--methods": "magnitud"}, "did you mean magnitude"),
    "own method": ({"--methods": f"+{NET}:make"}, "not marked by @compressor"),
    "distill": ({"--methods": "int8+distill"}, "distill must follow"),
    "two ratios": ({"--methods": "magnitude+snip"}, "both ask for ratio"),
    "bits": ({"--bits": "1"}, "bits"),
    "budget": ({"--budget": "speed>=2"}, "names: accuracy"),
    "metric": ({"--budget": "rmse<=2"}, "a classification has no rmse"),
    "optimizer": ({"--optimizer": "lion"}, "optimizer"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_runs(cli, files, tmp_path, case):
    changes, *words = BAD[case]
    given = {**GOOD, **changes}
    options = [
        text.format(files=files) for name, value in given.items() if value for text in (name, value)
    ]
    status, out, err = cli(*options, "--store", tmp_path / "store")
    assert status == 2 and out == "", err
    assert err.startswith("overparam: ") and len(err.splitlines()) == 1
    for word in words:
        assert word in err
    assert not (tmp_path / "store" / "artifacts").exists()


def test_the_methods_are_listed(cli):
    status, out, _ = cli("--list-methods")
    assert status == 0
    for name in ("magnitude", "nearest", "channels", "low_rank"):
        assert name in out
