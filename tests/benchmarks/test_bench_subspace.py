"""A subspace forward pass at D = 1e6, d = 1e3: under 0.3 s on one core and 100 MB beyond the
model."""

import json
import subprocess
import sys

import pytest

# A process of its own, so that the peak of its resident memory is that of these lines alone. The
# peak is reset after the imports: it then covers construction and all passes.
PROGRAM = """
import json, sys, time
import torch
from torch import nn
from overparam.compress.subspace import SubspaceModel

def status(field):
    with open("/proc/self/status") as lines:
        return next(int(l.split()[1]) / 1024 for l in lines if l.startswith(field + ":"))

def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

torch.set_num_threads(1)
torch.manual_seed(0)
base = nn.Sequential(nn.Linear(1000, 980), nn.ReLU(), nn.Linear(980, 20))
x = torch.randn(4, 1000)
# One pass of a small model brings up the libraries' own work space.
SubspaceModel(nn.Linear(1000, 20), 10, sys.argv[1], seed=0)(x).sum().backward()
before = status("VmRSS")
reset_peak()
start = time.perf_counter()
model = SubspaceModel(base, 1000, sys.argv[1], seed=0)
built = time.perf_counter() - start
construction = status("VmHWM") - before
resident = status("VmRSS")
reset_peak()
forward, backward = [], []
for _ in range(5):
    start = time.perf_counter()
    loss = model(x).square().sum()
    forward.append(time.perf_counter() - start)
    loss.backward()
    backward.append(time.perf_counter() - start - forward[-1])
    del loss
print(json.dumps({
    "D": model.full_dim, "build_s": built, "forward_s": min(forward), "backward_s": min(backward),
    "construction_MB": construction, "passes_MB": status("VmHWM") - resident,
    "buffers_MB": sum(b.numel() * b.element_size() for b in model.buffers()) / 2**20,
    "gradient": float(model.v.grad.norm()),
}))
"""


@pytest.mark.parametrize("projection", ["fastfood", "sparse"])
def test_forward_at_a_million_parameters(projection: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, projection],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    measured = json.loads(done.stdout)
    print(projection, measured)
    assert measured["D"] == 1_000_600
    assert measured["gradient"] > 0
    assert measured["forward_s"] < 0.3
    # theta0, P and all temporaries of forward and backward; a dense P alone would take 3.8 GB.
    assert measured["passes_MB"] < 100
    assert measured["construction_MB"] < 150
    assert measured["buffers_MB"] < 40
