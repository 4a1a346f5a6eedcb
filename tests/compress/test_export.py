"""Exported models reload bit for bit, with the right codec, and never larger than dense."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from toys.model_zoo import ZOO

from overparam.compress import (
    MaskedWeight,
    QuantisedWeight,
    SharedModel,
    quantise_weight,
    share_parameters,
)
from overparam.compress.export import export_model
from overparam.compress.export_layout import same_bits
from overparam.compress.export_structure import CannotExport
from overparam.compress.load_model import load
from overparam.compress.masked_weight import mask_weight
from overparam.compress.quantisation_grid import minmax_grid
from overparam.study.loading import load_object

LOADER = Path(sys.modules[load.__module__].__file__)


def trained(name):
    """The zoo's network with other weights and running statistics than the factory's."""
    net = ZOO[name].factory()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor += 0.3 * torch.rand(tensor.shape, generator=generator)
    return net


def layers_by_weight(net):
    """The layers of each weight, in whatever way they come to share it."""
    found = {}
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding):
            found.setdefault(module._parameters["weight"], []).append(module)
    return list(found.values())


def pruned(net, share=0.9):
    generator = torch.Generator().manual_seed(2)
    for layers in layers_by_weight(net):
        mask = torch.rand(layers[0].weight.shape, generator=generator) >= share
        for layer in layers:
            mask_weight(layer, mask)
    return net


def rounded(net, bits, group=None):
    for layers in layers_by_weight(net):
        weight = layers[0].weight
        grid = minmax_grid(weight, bits, per="channel" if group is None else "group", group=group)
        codes = grid.codes(weight)
        for layer in layers:
            quantise_weight(layer, codes, grid.scale, grid.zero, bits, group=group)
    return net


COMPRESSED = {
    "dense": lambda net: net,
    "sparse": pruned,
    "int8": lambda net: rounded(net, 8),
    "int3 in groups": lambda net: rounded(net, 3, group=5),
    "sparse int4": lambda net: rounded(pruned(net), 4),
    "shared": lambda net: share_parameters(net, 4, seed=3),
}


STORED = ("weight_mask", "weight_codes", "weight_scale", "weight_zero")


def values_of(net):
    """Weights as the layers themselves read them, by the plain model's names."""
    if isinstance(net, SharedModel):
        return {**values_of(net.skeleton), **net.virtual_weights()}
    found = {n: t for n, t in net.state_dict().items() if not n.endswith(STORED)}
    for path, module in net.named_modules(remove_duplicate=False):
        if isinstance(module, MaskedWeight | QuantisedWeight):
            found[f"{path}.weight".lstrip(".")] = module.weight
    return found


@pytest.mark.parametrize("how", COMPRESSED)
@pytest.mark.parametrize("name", ZOO)
def test_every_network_reloads_bit_for_bit(name, how, tmp_path):
    toy = ZOO[name]
    if (name, how) == ("shared_module", "shared"):
        pytest.skip("share_parameters refuses modules under several names")
    net = COMPRESSED[how](trained(name))
    before = {n: t.clone() for n, t in net.state_dict().items()}
    training = [module.training for module in net.modules()]
    made = export_model(net, toy.factory(), tmp_path, outputs=toy.call)
    assert [module.training for module in net.modules()] == training
    assert all(same_bits(t, before[n]) for n, t in net.state_dict().items())

    loaded = load(toy.factory, tmp_path)
    assert not any(module.training for module in loaded.modules())
    expected, got = values_of(net), loaded.state_dict()
    assert expected.keys() == got.keys()
    assert [n for n in expected if not same_bits(expected[n], got[n])] == []
    assert torch.allclose(toy.call(net.eval()), toy.call(loaded), atol=1e-6)

    sizes = [(tmp_path / n).stat().st_size for n in ("model.safetensors", "model.json")]
    assert made.bytes == sum(sizes)
    again = export_model(loaded, toy.factory(), tmp_path / "again")
    assert made.bytes <= again.bytes  # which knows of no integers, masks or banks
    unique = {id(p): p for p in loaded.parameters()}.values()
    if made.format != "shared":
        assert made.parameters == sum(p.numel() for p in unique)
        assert made.nonzeros == sum(int(p.count_nonzero()) for p in unique)
    else:
        assert made.parameters == made.nonzeros == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("how", "format"),
    [
        ("dense", "dense"),
        ("sparse", "sparse"),
        ("int8", "packed int8"),
        ("int3 in groups", "packed int3"),
        ("sparse int4", "sparse+int4"),
        ("shared", "shared"),
    ],
)
def test_format_and_size_of_a_larger_network(how, format, tmp_path):
    def factory():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128))

    net = COMPRESSED[how](factory())
    made = export_model(net, factory(), tmp_path)
    assert made.format == format == json.loads((tmp_path / "model.json").read_text())["format"]
    n = 64 * 256 + 256 * 128
    biases = 4 * (256 + 128)
    payload = {
        "dense": 4 * n,
        "sparse": 0.1 * n * (4 + 4.9 / 8),
        "packed int8": n + 4 * (256 + 128),
        "packed int3": 3 / 8 * n + 4 * (13 * 256 + 52 * 128) + 2 * 65,
        "sparse+int4": 0.1 * n * (4 + 4.9) / 8 + 4 * (256 + 128),
        "shared": n,
    }
    assert made.bytes == pytest.approx(biases + payload[format], rel=0.02, abs=1500)
    assert {t.codec for t in made.tensors if t.name.endswith("0.weight")} == {format}


@pytest.mark.parametrize("mapping", ["hashed", "roast", "randomfold"])
@pytest.mark.parametrize("options", [{}, {"sign": False}, {"cache_index": False}])
def test_the_loader_computes_the_hash(mapping, options, tmp_path):
    def factory():
        torch.manual_seed(0)
        return nn.ModuleDict(
            {
                "table": nn.Embedding(50, 40, padding_idx=7),
                "conv": nn.Conv2d(6, 50, (3, 5)),
                "line": nn.Linear(33, 70),
            }
        ).double()

    tile = (8, 16) if mapping == "roast" else None
    shared = share_parameters(factory(), 9, seed=11, mapping=mapping, tile=tile, **options)
    shared.shared.data[::2] *= -1  # so that products with the padding's scale 0 have both signs
    made = export_model(shared, factory(), tmp_path)
    assert made.format == "shared"
    assert sum(t.codec == "shared" for t in made.tensors) == 3
    virtual = shared.virtual_weights()
    got = load(factory, tmp_path).state_dict()
    assert all(same_bits(virtual[n], got[n]) for n in virtual)


def test_a_shared_model_inside_another(tmp_path):
    def factory():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Sequential(nn.Linear(40, 40)))

    net = factory()
    rounded(net[0], 8)
    net[2] = share_parameters(net[2], 5, seed=0)
    made = export_model(net, factory(), tmp_path, outputs=lambda m: m(torch.ones(2, 8)))
    codecs = {t.name: t.codec for t in made.tensors}
    assert codecs["0.weight"] == "packed int8" and codecs["2.0.weight"] == "shared"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_are_kept(dtype, tmp_path):
    net = pruned(trained("mlp")).to(dtype)
    export_model(net, ZOO["mlp"].factory(), tmp_path)
    got = load(ZOO["mlp"].factory, tmp_path).state_dict()
    assert all(same_bits(t, got[n]) for n, t in values_of(net).items())


def test_tied_tensors_are_stored_once_and_stay_tied(tmp_path):
    net = trained("tied_decoder")
    export_model(net, ZOO["tied_decoder"].factory(), tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert sorted(file.keys()) == [
            "decoder.bias",
            "embedding.weight",
            "mixer.bias",
            "mixer.weight",
        ]
    loaded = load(ZOO["tied_decoder"].factory, tmp_path)
    assert loaded.decoder.weight is loaded.embedding.weight


def test_ties_made_and_undone(tmp_path):
    toy = ZOO["tied_layers"]
    net = trained("tied_layers")
    net.layers[1].weight = nn.Parameter(net.layers[0].weight.detach() * 2)
    net.head.bias = nn.Parameter(net.head.bias.detach().clone())
    export_model(net, toy.factory(), tmp_path, outputs=toy.call)
    loaded = load(toy.factory, tmp_path)
    assert loaded.layers[1].weight is not loaded.layers[0].weight
    net.layers[1].bias = net.layers[0].bias
    export_model(net, toy.factory(), tmp_path, outputs=toy.call)
    loaded = load(toy.factory, tmp_path)
    assert loaded.layers[1].bias is loaded.layers[0].bias


def test_never_larger_than_dense_where_every_tensor_is_tiny(tmp_path):
    def factory():
        return nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))

    net = rounded(factory(), 8)
    made = export_model(net, factory(), tmp_path)
    dense = export_model(load(factory, tmp_path), factory(), tmp_path)
    assert made.format == "dense" and made.bytes <= dense.bytes


def test_the_loader_is_short_and_needs_only_torch_and_safetensors():
    text = LOADER.read_text()
    assert len(text.splitlines()) < 80
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if "import " in line}
    assert imported == {"json", "pathlib", "typing", "torch", "safetensors"}


NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))
"""
ELSEWHERE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("overparam", "pickle5"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
sys.path[:0] = [FOLDER, NETS]
import torch
from safetensors.torch import load_file
from load_model import load
from net import make

model = load(make, FOLDER)
found = load_file(SAMPLES)
with torch.no_grad():
    assert torch.equal(model(found["inputs"]), found["outputs"])
assert not [name for name in sys.modules if name.startswith("overparam")]
print("loaded", type(model).__name__, sum(p.numel() for p in model.parameters()))
"""


@pytest.mark.parametrize("how", ["sparse", "sparse int4", "shared"])
def test_loads_in_a_process_that_cannot_import_this_package(how, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    factory = load_object(f"{tmp_path / 'net.py'}:make")
    net = factory()
    net[0] = nn.Conv2d(1, 6, 3)  # as if channels had been pruned
    net[3] = nn.Linear(54, 10)
    export_model(COMPRESSED[how](net), factory(), tmp_path / "small")
    inputs = torch.randn(4, 1, 5, 5)
    with torch.no_grad():
        outputs = load(factory, tmp_path / "small")(inputs)
    save_file({"inputs": inputs, "outputs": outputs}, tmp_path / "samples.safetensors")
    places = {
        "FOLDER": tmp_path / "small",
        "NETS": tmp_path,
        "SAMPLES": tmp_path / "samples.safetensors",
    }
    head = "".join(f"{name} = {str(path)!r}\n" for name, path in places.items())
    child = subprocess.run(
        [sys.executable, "-I", "-c", head + ELSEWHERE], capture_output=True, text=True, cwd="/"
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.split() == ["loaded", "Sequential", str(60 + 550)]


def test_another_factory_is_refused_with_names(tmp_path):
    toy = ZOO["mlp"]
    export_model(pruned(trained("mlp")), toy.factory(), tmp_path)
    with pytest.raises(RuntimeError, match=r"3\.weight.*torch.Size\(\[4, 24\]\)"):
        load(
            lambda: nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.ReLU(), nn.Linear(24, 5)),
            tmp_path,
        )
    with pytest.raises(RuntimeError, match=r"Unexpected key.*3.weight"):
        load(lambda: nn.Sequential(nn.Linear(12, 24)), tmp_path)
    with pytest.raises(RuntimeError, match=r"Missing key.*4.weight"):
        load(lambda: toy.factory().append(nn.Linear(4, 4)), tmp_path)


class Counting(nn.Module):
    """Computes with a number that is no attribute of JSON's."""

    def __init__(self, factors=(1.0,)):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.factors = {"all": list(factors)}

    def forward(self, x):
        return self.layer(x) * self.factors["all"][0]


def test_a_model_that_computes_with_something_hidden_is_refused(tmp_path):
    x = torch.ones(1, 3)
    with pytest.raises(CannotExport, match="gives other outputs"):
        export_model(Counting((2.0,)), Counting(), tmp_path, outputs=lambda m: m(x))
    assert list(tmp_path.iterdir()) == []


class Loose(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.gain = torch.ones(2)


class Extra(nn.Linear):
    def get_extra_state(self):
        return {"seen": 3}


def test_what_cannot_be_written_is_named(tmp_path):
    loose = Loose()
    loose.gain = torch.zeros(2)
    with pytest.raises(CannotExport, match="'gain' is a tensor"):
        export_model(loose, Loose(), tmp_path)
    with pytest.raises(CannotExport, match=r"Extra.*extra state"):
        export_model(Extra(2, 2), Extra(2, 2), tmp_path)
    net = nn.Sequential(nn.Linear(3, 3))
    net[0] = Loose()
    with pytest.raises(CannotExport, match=r"^0 is a .*Loose and not what the factory makes"):
        export_model(net, nn.Sequential(nn.Linear(3, 3)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_is_never_left(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "overparam.compress.export_codecs.pack_bits", lambda codes, bits: codes.flatten() * 0
    )
    with pytest.raises(CannotExport, match=r"loads as another model: 0.weight"):
        export_model(rounded(trained("mlp"), 8), ZOO["mlp"].factory(), tmp_path)
    assert list(tmp_path.iterdir()) == []
