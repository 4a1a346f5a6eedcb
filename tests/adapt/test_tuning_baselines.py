"""LoRA, adapters, prompts and selective tuning: start, counts, what is trained, merging."""

import copy
import math

import pytest
import torch
from torch import nn

from overparam.adapt import (
    ADDED,
    bitfit,
    find_head,
    full_tuning,
    inject_adapters,
    inject_lora,
    inject_ssf,
    linear_probe,
    match_modules,
    merge_lora,
    merge_ssf,
    norm_tune,
    replace_head,
    vpt,
)
from overparam.measure import param_report
from overparam.models import ResidualMLP, TinyConvNeXt, TinyViT, seeded
from overparam.training import Ensemble

FAMILIES = [TinyViT, TinyConvNeXt, ResidualMLP]


def images(n=3, seed=0):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


METHODS = {
    "full": full_tuning,
    "linear": linear_probe,
    "bitfit": bitfit,
    "norm": norm_tune,
    "ssf": inject_ssf,
    "lora": inject_lora,
    "adapter": inject_adapters,
}


@pytest.mark.parametrize("factory", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_its_own_parameters_and_no_other(method, factory):
    model = METHODS[method](factory())
    model(images()).square().sum().backward()
    got = {name for name, p in model.named_parameters() if p.grad is not None}
    everything = dict(model.named_parameters())
    norms = {n for n, m in model.named_modules() if isinstance(m, nn.LayerNorm)}
    expected = {
        "full": lambda name: True,
        "linear": lambda name: False,
        "bitfit": lambda name: name.endswith(".bias"),
        "norm": lambda name: name.rpartition(".")[0] in norms,
        "ssf": lambda name: ".ssf." in name,
        "lora": lambda name: ".lora." in name,
        "adapter": lambda name: ".adapter." in name,
    }[method]
    assert got == {name for name in everything if expected(name) or name.startswith("head.")}


@pytest.mark.parametrize("factory", FAMILIES)
@pytest.mark.parametrize(
    "method",
    [
        inject_lora,
        inject_adapters,
        lambda m: inject_adapters(m, mode="parallel"),
        lambda m: inject_ssf(m, init="identity"),
    ],
)
def test_start_is_bit_equal_to_the_base(method, factory):
    model = seeded(factory, 0)
    before = model(images())
    assert torch.equal(method(model)(images()), before)


def test_lora_equals_the_dense_update_and_merges():
    model = inject_lora(seeded(TinyViT, 0), ("*.qkv", "*.fc1"), rank=2, alpha=6.0).double()
    base = seeded(TinyViT, 0).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora.up"):
                parameter.normal_(generator=torch.Generator().manual_seed(1))
        for name in match_modules(base, ("*.qkv", "*.fc1")):
            update = model.get_submodule(name).lora
            base.get_submodule(name).weight += 3.0 * update.up @ update.down
    merged = merge_lora(model)
    x = images().double()
    assert (base(x) - model(x)).abs().max() < 1e-12
    assert (merged(x) - model(x)).abs().max() < 1e-12
    assert merged.state_dict().keys() == seeded(TinyViT, 0).state_dict().keys()
    assert not any(module._forward_hooks for module in merged.modules())


def test_lora_start_is_kaiming_uniform_and_seeded():
    down, again = (
        inject_lora(seeded(ResidualMLP, 0), ("stem",), seed=4).stem.lora.down for _ in range(2)
    )
    assert torch.equal(down, again)
    reference = torch.empty(4000, 64)
    nn.init.kaiming_uniform_(reference, a=math.sqrt(5), generator=torch.Generator().manual_seed(0))
    assert down.abs().max() <= reference.abs().max() * 1.001
    assert down.std().item() == pytest.approx(reference.std().item(), rel=0.1)


def test_lora_reaches_all_linear_maps_but_the_head_by_default():
    model = inject_lora(ResidualMLP())
    names = [n for n, m in model.named_modules() if hasattr(m, "lora")]
    assert "stem" in names
    assert len(names) == 1 + 8
    assert "head" not in names


def test_adapter_by_hand_and_both_matrices_learn():
    model = inject_adapters(seeded(ResidualMLP, 0), ("blocks.1.mlp",), bottleneck=5)
    adapter = model.blocks[1].mlp.adapter
    with torch.no_grad():
        adapter.up_weight.normal_(generator=torch.Generator().manual_seed(0))
        adapter.up_bias.fill_(0.3)
    z = torch.randn(2, 64)
    plain = copy.deepcopy(model.blocks[1].mlp)
    out = plain.fc2(nn.functional.gelu(plain.fc1(z)))
    hidden = nn.functional.gelu(out @ adapter.down_weight.T + adapter.down_bias)
    expected = out + hidden @ adapter.up_weight.T + adapter.up_bias
    torch.testing.assert_close(model.blocks[1].mlp(z), expected)
    adapter.mode = "parallel"
    hidden = nn.functional.gelu(z @ adapter.down_weight.T + adapter.down_bias)
    expected = out + hidden @ adapter.up_weight.T + adapter.up_bias
    torch.testing.assert_close(model.blocks[1].mlp(z), expected)


def test_adapter_start_is_no_saddle():
    model = inject_adapters(seeded(ResidualMLP, 0))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(images()).square().sum().backward()
        optimizer.step()
    assert all(
        p.grad.abs().sum() > 0 for n, p in model.named_parameters() if n.endswith("down_weight")
    )


def test_parameter_prices_outside_the_head():
    vit = 48
    expected = {
        "linear": 0,
        "norm": 2 * vit * 9,
        "ssf": 3648,
        "lora": 4 * 4 * ((48 + 144) + (48 + 48) + (48 + 96) * 2),
        "adapter": 4 * (2 * 48 * 8 + 8 + 48),
        "bitfit": 48 + 4 * (48 + 144 + 48 + 48 + 96 + 48) + 48,
    }
    for method, count in expected.items():
        report = param_report(METHODS[method](TinyViT()), head="head", added=ADDED)
        assert (method, report.tuned) == (method, count)
        assert report.head == 490


def reference_vpt(model, x, prompts, deep):
    """Prompt tuning spelled out for a class-token or mean-pooling transformer."""
    x = model.patch_embed(x)
    lead = model.num_prefix_tokens
    if lead:
        x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], dim=1)
    x = x + model.pos_embed
    n = prompts[0].shape[0]
    for i, block in enumerate(model.blocks):
        if i == 0:
            x = torch.cat([x[:, :lead], prompts[0].expand(len(x), -1, -1), x[:, lead:]], dim=1)
        elif deep:
            x[:, lead : lead + n] = prompts[i]
        x = block(x)
    x = model.norm(x)
    pooled = x[:, 0] if lead else torch.cat([x[:, :lead], x[:, lead + n :]], dim=1).mean(1)
    return model.head(pooled)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_prompts_equal_the_spelled_out_forward(pool, deep):
    base = seeded(lambda: TinyViT(pool=pool), 0)
    model = vpt(copy.deepcopy(base), 5, deep)
    prompts = [p for n, p in model.named_parameters() if n.endswith("prompts.tokens")]
    assert len(prompts) == (4 if deep else 1)
    with torch.no_grad():
        expected = reference_vpt(base, images(), prompts, deep)
        torch.testing.assert_close(model(images()), expected, rtol=0, atol=1e-6)
    bound = math.sqrt(6 / (4 + 48))
    values = torch.cat(prompts)
    assert 0.9 * bound < values.abs().max() <= bound
    model(images()).sum().backward()
    got = {name for name, p in model.named_parameters() if p.grad is not None}
    assert got == {n for n, _ in model.named_parameters() if "prompts" in n or "head" in n}


def test_head_is_found_and_replaced():
    nested = nn.Sequential(nn.Linear(2, 3))
    nested.add_module("classifier", nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    assert find_head(nested) == "classifier.2"
    assert find_head(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))) == "2"
    model = ResidualMLP(classes=80).eval()
    state = torch.random.get_rng_state()
    replace_head(model, 7, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model(images()).shape == (3, 7)
    assert model.head.bias.eq(0).all()
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.15)
    assert torch.equal(replace_head(ResidualMLP(), 7, seed=3).head.weight, model.head.weight)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: inject_lora(ResidualMLP(), rank=0), ValueError, "rank must be"),
        (lambda: inject_lora(ResidualMLP(), rank=65), ValueError, "rank must be"),
        (lambda: inject_lora(ResidualMLP(), ("*.norm",)), ValueError, r"'\*\.norm' matches no"),
        (lambda: inject_lora(inject_lora(ResidualMLP())), RuntimeError, "already"),
        (lambda: inject_lora(nn.Sequential(nn.Linear(2, 2))), ValueError, "besides the head"),
        (lambda: merge_lora(ResidualMLP()), ValueError, "no LoRA"),
        (lambda: inject_adapters(ResidualMLP(), bottleneck=0), ValueError, "bottleneck"),
        (lambda: inject_adapters(ResidualMLP(), mode="both"), ValueError, "mode"),
        (lambda: inject_adapters(ResidualMLP(), ("norm",)), ValueError, "no linear map"),
        (lambda: inject_adapters(inject_adapters(ResidualMLP())), RuntimeError, "already"),
        (lambda: vpt(TinyViT(), 0), ValueError, "n_prompts"),
        (lambda: vpt(vpt(TinyViT(), 2), 2), RuntimeError, "already"),
        (lambda: vpt(ResidualMLP(), 2), ValueError, "patch_embed"),
        (lambda: vpt(TinyViT(), 2, blocks="layers"), ValueError, "'layers'"),
        (lambda: vpt(TinyViT(), 2, prefix=-1), ValueError, "prefix"),
        (lambda: bitfit(nn.Sequential(nn.Linear(2, 2, bias=False))), ValueError, "no bias"),
        (lambda: norm_tune(nn.Sequential(nn.Linear(2, 2))), ValueError, "no norm"),
        (lambda: linear_probe(ResidualMLP(), head=None), ValueError, "no head"),
        (lambda: replace_head(ResidualMLP(), 0), ValueError, "classes"),
        (lambda: replace_head(ResidualMLP(), 3, head="norm"), ValueError, "nn.Linear"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "method",
    [
        inject_ssf,
        inject_lora,
        inject_adapters,
        bitfit,
        lambda m: vpt(m, 3, deep=True),
    ],
)
def test_batched_training_equals_one_by_one(method):
    def make(seed):
        model = replace_head(seeded(lambda: TinyViT(depth=2), 0), 10, seed=seed)
        return method(model).double()

    members = [make(seed) for seed in range(3)]
    rates = [0.01, 0.03, 0.1]
    x, y = images(8).double(), torch.arange(8) % 10
    ensemble = Ensemble(copy.deepcopy(members))
    trained = [p for p in ensemble.parameters.values() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    factors = torch.tensor(rates, dtype=torch.float64)
    for _ in range(5):
        optimizer.zero_grad()
        logits = ensemble(x, shared=True)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.repeat(3), reduction="none")
        loss.view(3, -1).mean(1).sum().backward()
        for parameter in trained:
            parameter.grad.mul_(factors.view(-1, *([1] * (parameter.ndim - 1))))
        optimizer.step()
    assert all(p.grad is None for p in ensemble.parameters.values() if not p.requires_grad)
    for index, (model, lr) in enumerate(zip(members, rates, strict=True)):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        plain = ensemble.members()[index]
        if method is inject_ssf:
            assert (merge_ssf(plain)(x) - plain(x)).abs().max() < 1e-12
        assert (plain(x) - model(x)).abs().max() < 1e-9
        for key, value in model.state_dict().items():
            assert (ensemble.state(index)[key] - value).abs().max() < 1e-9
