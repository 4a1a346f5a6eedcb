"""Measuring exported files: a fresh process, each file's own loader, and files that kill it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from overparam.compress import share_parameters
from overparam.compress.export import export_model
from overparam.datasets import InMemory
from overparam.measure import explain, measure_exports
from overparam.models import MLP, seeded
from overparam.study.loading import load_module
from overparam.training import TargetScale, Task

TASK = Task("classification", ("a", "b", "c"))
LOADER = """
import json, os, sys, time
from pathlib import Path
from safetensors.torch import load_file

def load(factory, folder):
    what = json.loads((Path(folder) / "model.json").read_text())["what"]
    if what == "dies":
        os._exit(7)
    if what == "is killed":
        os.kill(os.getpid(), 9)
    if what == "hangs":
        time.sleep(600)
    if what == "raises":
        raise ValueError("tensors are missing")
    model = factory()
    model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return model.train()
"""
FACTORY = """
from overparam.models import MLP

def make():
    return MLP((6, 12, 3))

def wide():
    return MLP((6, 256, 3))
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "net.py").write_text(FACTORY)
    return tmp_path


def export(place, name, model, what="fine", form="dense"):
    folder = place / name
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps({"format": form, "what": what}))
    (folder / "load_model.py").write_text(LOADER)
    return folder


def net(seed=0):
    return seeded(lambda: MLP((6, 12, 3)), seed)


def samples(n=40):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1))
    return InMemory(x, x[:, :3].argmax(1))


def measure(place, folders, **options):
    return measure_exports(
        folders,
        dense="dense",
        factory=f"{place}/net.py:make",
        data=samples(),
        task=TASK,
        pairs=3,
        **options,
    )


def test_every_number_is_that_of_the_file(place):
    pruned = net()
    with torch.no_grad():
        pruned.get_parameter(next(n for n, _ in pruned.named_parameters())).flatten()[::2] = 0
    folders = {"dense": export(place, "dense", net()), "small": export(place, "small", pruned)}
    rows = measure(place, folders)
    data = samples()
    for name, model in (("dense", net()), ("small", pruned)):
        row = rows[name]
        right = model(data.inputs).argmax(1) == data.targets
        assert row["accuracy"] == pytest.approx(float(right.double().mean()))
        same = model(data.inputs).argmax(1) == net()(data.inputs).argmax(1)
        assert row["agreement"] == pytest.approx(float(same.double().mean()))
        assert row["parameters"] == 6 * 12 + 12 + 12 * 3 + 3
        assert row["flops"] == 2 * (6 * 12 + 12 * 3)
        files = [folders[name] / "model.safetensors", folders[name] / "model.json"]
        assert row["bytes"] == sum(file.stat().st_size for file in files)
        assert row["failure"] == ""
    assert rows["dense"]["latency"] == rows["dense"]["latency_1"] == 1
    assert rows["small"]["nonzeros"] == int(
        sum(parameter.count_nonzero() for parameter in pruned.parameters())
    )
    low, high = (rows["small"][f"latency_64_{end}"] for end in ("low", "high"))
    assert 0 < low <= rows["small"]["latency_64"] <= high


@pytest.mark.parametrize(
    "broken",
    [
        {"dies": "ended with status 7", "raises": "ValueError: tensors are missing"},
        {"is killed": "killed by SIGKILL (out of memory?)", "hangs": "no result after 15 s"},
    ],
)
def test_files_that_break_the_process_fail_alone(place, broken):
    folders = {what: export(place, what, net(), what) for what in broken}
    folders = {"good": export(place, "good", net(1)), **folders}
    if "hangs" not in broken:  # its process is the last one
        folders["last"] = export(place, "last", net(2))
    folders["dense"] = export(place, "dense", net())
    rows = measure(place, folders, timeout=15)
    assert list(rows) == list(folders)
    for what, words in broken.items():
        assert words in rows[what]["failure"]
    for name in folders.keys() - broken.keys():
        assert rows[name]["failure"] == "" and rows[name]["accuracy"] >= 0


def test_a_dense_model_that_cannot_be_measured_is_an_error(place):
    with pytest.raises(RuntimeError, match=r"can't be measured: .*tensors are missing"):
        measure(place, {"dense": export(place, "dense", net(), "raises")})


def test_a_forward_of_ones_own_needs_the_tasks_factory(place):
    task = Task("regression", forward=lambda model, x: model(x))
    with pytest.raises(ValueError, match="give task_factory too"):
        measure_exports({"dense": place}, factory="a:b", data=samples(), task=task)


def test_shared_numbers_count_once(place):
    wide = seeded(lambda: MLP((6, 256, 3)), 0)
    made = export_model(share_parameters(wide, 4, seed=0), wide, place / "shared")
    rows = measure_exports(
        {"dense": export(place, "dense", wide), "shared": place / "shared"},
        factory=f"{place}/net.py:wide",
        data=samples(),
        task=TASK,
        pairs=2,
    )
    row = rows["shared"]
    assert row["format"] == made.format == "shared"
    assert row["parameters"] == row["nonzeros"] == made.parameters == 9 * 256 // 4 + 256 + 3
    assert row["flops"] == rows["dense"]["flops"]
    assert row["worst_class_name"] in TASK.classes and row["uncounted"] == ""


def test_dense_must_be_among_the_folders(place):
    with pytest.raises(ValueError, match="dense is 'dense'; allowed: other"):
        measure(place, {"other": place})


def test_dicts_reach_the_model_and_a_users_task_is_used(place):
    (place / "net.py").write_text(
        "from torch import nn\nfrom overparam.training import Task\n"
        "class Two(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(3, 1)\n"
        "    def forward(self, a, b):\n"
        "        return {'value': self.fc(a + b)}\n"
        "def make(): return Two()\n"
        "def task(): return Task('regression', forward=lambda m, x: m(**x)['value'])\n"
    )
    module = load_module(str(place / "net.py"))
    model = module.Two()
    x = {"a": torch.randn(9, 3), "b": torch.randn(9, 3)}
    y = torch.randn(9)
    rows = measure_exports(
        {"dense": export(place, "dense", model)},
        dense="dense",
        factory=f"{place}/net.py:make",
        data=InMemory(x, y),
        task=module.task(),
        task_factory=f"{place}/net.py:task",
        batch_sizes=(1,),
        pairs=2,
    )
    with torch.no_grad():
        expected = ((model.fc(x["a"] + x["b"])[:, 0] - y) ** 2).mean().sqrt()
    assert rows["dense"]["rmse"] == pytest.approx(float(expected), rel=1e-5)


def test_scaled_targets_are_told_in_their_units(place):
    (place / "net.py").write_text("from torch import nn\ndef make(): return nn.Linear(2, 1)\n")
    model, x = torch.nn.Linear(2, 1), torch.randn(9, 2)
    task = Task("regression", target=TargetScale((5e3,), (100.0,)))
    with torch.no_grad():
        y = 100 * model(x)[:, 0] + 5e3 + 30
    row = measure_exports(
        {"dense": export(place, "dense", model)},
        factory=f"{place}/net.py:make",
        data=InMemory(x, y),
        task=task,
        batch_sizes=(1,),
        pairs=2,
    )["dense"]
    assert row["rmse"] == pytest.approx(30, rel=1e-4) and row["agreement"] == 1


DENSE = {
    "flops": 100,
    "bytes": 1000,
    "latency": 1.0,
    "nonzeros": 50,
    "parameters": 50,
    "format": "dense",
    "operators": 6,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"bytes": 100, "latency": 0.5, "nonzeros": 5}, ""),
        ({"bytes": 100, "latency": 0.5, "latency_1_high": 0.7}, ""),
        ({"bytes": 250, "latency": 0.9, "latency_1_high": 1.1}, "the same operations run"),
        ({"bytes": 100, "nonzeros": 5, "format": "sparse"}, "zeros in a dense tensor"),
        ({"bytes": 250, "format": "packed int8"}, "expanded to floats"),
        ({"bytes": 250, "format": "shared"}, "shared numbers are expanded"),
        ({"flops": 50, "bytes": 500}, "50% of the FLOPs, no faster: at this size a call"),
        ({"flops": 50, "operators": 9}, "9 operators run instead of 6"),
        (
            {"flops": 50e6, "latency_1_ms": 1.0, "latency_64_ms": 64.0},
            "run slower on this machine, 50 GFLOP/s instead of 100",
        ),
        ({"flops": 50, "latency_1_ms": 1.0, "latency_64_ms": 2.0}, "a call spends its time on"),
    ],
)
def test_no_speed_is_explained(changes, words):
    dense = {**DENSE, **{k: v for k, v in changes.items() if k.endswith("_ms")}}
    dense["flops"] = 100e6 if changes.get("flops") == 50e6 else 100
    text = explain({**dense, **changes}, dense)
    assert words in text if words else text == ""


def test_the_module_runs_from_a_specification_alone():
    from overparam.measure import exported, exported_process

    assert f"from {exported_process.__name__} import main" in exported.PROCESS
    assert Path(exported_process.__file__).is_file()
