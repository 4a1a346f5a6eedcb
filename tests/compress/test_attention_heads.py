import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn
from toys.model_zoo import ZOO

from overparam.compress.channel_groups import channel_groups
from overparam.compress.channel_removal import remove_channels, zero_channels
from overparam.compress.coupled_channels import ChannelGroup, ChannelGroups
from overparam.compress.registry import CannotTreat, LeftAlone, load_method
from overparam.compress.structured import prune_structured
from overparam.datasets import InMemory
from overparam.training import Task

WIDTH, HEADS, DEPTH = 16, 4, 4
SEQUENCE = ZOO["encoder"].inputs


class Fused(nn.Module):
    """One layer for queries, keys and values, (three, head, depth) in its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim = HEADS, DEPTH
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, self.head_dim)
        q, k, v = rows.permute(2, 0, 3, 1, 4).unbind(0)
        mix = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(-1)
        return self.proj((mix @ v).transpose(1, 2).reshape(*x.shape[:2], -1))


class Interleaved(nn.Module):
    """(head, three, depth) in the rows, as in GPT-NeoX."""

    def __init__(self) -> None:
        super().__init__()
        self.n = HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (self.n, -1)).transpose(1, 2).chunk(3, dim=-1)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Chunked(nn.Module):
    """chunk, a causal mask, and norms of queries and keys."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.inner_dim = HEADS, WIDTH
        self.to_qkv, self.to_out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm_q, self.norm_k = nn.LayerNorm(DEPTH), nn.LayerNorm(DEPTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for part in self.to_qkv(x).chunk(3, dim=-1)
        )
        q, k = self.norm_q(q), self.norm_k(k)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.to_out(mixed.transpose(1, 2).reshape(*x.shape[:2], self.inner_dim))


class Einsum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.h, self.dim = HEADS, WIDTH
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (f(x).reshape(b, t, self.h, DEPTH) for f in (self.q, self.k, self.v))
        mix = torch.einsum("bihd,bjhd->bhij", q, k).softmax(-1)
        return self.o(torch.einsum("bhij,bjhd->bihd", mix, v).reshape(b, t, self.dim))


class Grouped(nn.Module):
    """Four query heads share two heads of keys and values."""

    def __init__(self, shared: int = 2) -> None:
        super().__init__()
        self.n_heads, self.n_kv = HEADS, shared
        self.q, self.o = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k, self.v = nn.Linear(WIDTH, shared * DEPTH), nn.Linear(WIDTH, shared * DEPTH)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = self.q(x).view(b, t, self.n_heads, DEPTH).transpose(1, 2)
        k, v = (f(x).view(b, t, self.n_kv, DEPTH).transpose(1, 2) for f in (self.k, self.v))
        k, v = (part.repeat_interleave(self.n_heads // self.n_kv, 1) for part in (k, v))
        return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1))


class OfTheInput(nn.Module):
    """Cuts heads from the width of its input, as nanoGPT does."""

    def __init__(self) -> None:
        super().__init__()
        self.n_head, self.n_embd = HEADS, WIDTH
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
            for part in self.c_attn(x).split(self.n_embd, dim=2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).reshape(b, t, c))


class ScaledOfTheInput(nn.Module):
    """The same with a scale of its own, as in older vision transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.scale = HEADS, DEPTH**-0.5
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.num_heads, c // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(-2, -1)) * self.scale).softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).reshape(b, t, c))


class Stream(nn.Module):
    """Attentions that add to one stream."""

    def __init__(self, *attentions: nn.Module) -> None:
        super().__init__()
        self.inlet, self.head = nn.Linear(5, WIDTH), nn.Linear(WIDTH, 4)
        self.attentions = nn.ModuleList(attentions)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inlet(x)
        for attention in self.attentions:
            x = x + attention(x)
        return self.head(x)


class Block(nn.Module):
    """A pre-norm block around an attention; its scale hides the attention almost."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.inlet, self.place = nn.Linear(5, WIDTH), nn.Parameter(torch.randn(1, 7, WIDTH))
        self.before, self.attention = nn.LayerNorm(WIDTH), attention
        self.scale = nn.Parameter(1e-6 * torch.ones(WIDTH))
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 24), nn.Linear(24, 16)
        self.pool, self.head = nn.Linear(WIDTH, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inlet(x) + self.place[:, : x.shape[1]]
        x = x + self.scale * self.attention(self.before(x))
        x = x + self.down(F.gelu(self.up(self.norm(x))))
        return self.head(torch.tanh(self.pool(x.mean(1))))


def block(kind: type[nn.Module], *arguments: int) -> nn.Module:
    torch.manual_seed(0)
    return Block(kind(*arguments))


def heads_of(found: ChannelGroups) -> list[ChannelGroup]:
    return [group for group in found.groups if group.kind == "heads"]


def rows(group: ChannelGroup, layer: str) -> list[tuple[int, ...]]:
    return next(list(axis.channels) for axis in group.axes if axis.layer == layer)


def run(start: int, length: int = DEPTH) -> tuple[int, ...]:
    return tuple(range(start, start + length))


@pytest.mark.parametrize("kind", [Fused, Chunked])
def test_rows_of_a_head_three_blocks_apart(kind: type[nn.Module]) -> None:
    (group,) = heads_of(channel_groups(block(kind), SEQUENCE))
    assert group.units == HEADS
    layer, last = group.layers[1], group.layers[0]
    assert rows(group, last) == [run(4 * h) for h in range(HEADS)]
    expected = [run(4 * h) + run(16 + 4 * h) + run(32 + 4 * h) for h in range(HEADS)]
    assert rows(group, layer) == expected


def test_rows_of_a_head_one_after_the_other() -> None:
    (group,) = heads_of(channel_groups(block(Interleaved), SEQUENCE))
    assert rows(group, "attention.qkv") == [run(12 * h, 12) for h in range(HEADS)]


def test_heads_that_share_keys_leave_together() -> None:
    (group,) = heads_of(channel_groups(block(Grouped), SEQUENCE))
    assert rows(group, "attention.q") == [run(0, 8), run(8, 8)]
    assert rows(group, "attention.k") == rows(group, "attention.v") == [run(0), run(4)]
    found = channel_groups(block(Grouped, 1), SEQUENCE)
    assert not heads_of(found)
    assert any("share keys and values" in entry.reason for entry in found.left_out)


@pytest.mark.parametrize("kind", [Fused, Interleaved, Chunked, Einsum, Grouped])
def test_without_heads_equals_their_columns_at_zero(kind: type[nn.Module]) -> None:
    model = block(kind).eval()
    with torch.no_grad():
        model.scale.fill_(1)
    (group,) = heads_of(channel_groups(model, SEQUENCE))
    removed = [0] if group.units == 2 else [0, 2]
    zeroed = copy.deepcopy(model)
    last = zeroed.get_submodule(group.name)
    with torch.no_grad():
        last.weight[:, [c for h in removed for c in rows(group, group.name)[h]]] = 0
    small = remove_channels(model, {group: removed})
    torch.testing.assert_close(small(SEQUENCE), zeroed(SEQUENCE), rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (Fused, {"num_heads": 2, "head_dim": 4}),
        (Interleaved, {"n": 2}),
        (Chunked, {"heads": 2, "inner_dim": 8}),
        (Einsum, {"h": 2, "dim": 8}),
        (Grouped, {"n_heads": 2, "n_kv": 1}),
    ],
)
def test_attributes_that_count_heads_follow(kind: type[nn.Module], sizes: dict[str, int]) -> None:
    model = block(kind)
    (group,) = heads_of(channel_groups(model, SEQUENCE))
    small = remove_channels(model, {group: range(group.units // 2)}).attention
    assert {name: getattr(small, name) for name in sizes} == sizes


def test_heads_are_found_under_saturated_attention() -> None:
    model = block(Fused)
    with torch.no_grad():
        model.attention.qkv.weight *= 1000
    (group,) = heads_of(channel_groups(model, SEQUENCE))
    assert group.units == HEADS


def test_a_single_token_shows_no_heads() -> None:
    found = channel_groups(block(Fused), SEQUENCE[:, :1])
    assert not heads_of(found)
    assert any("attention.qkv" in entry.layers for entry in found.left_out)


def with_tp(model: nn.Module, inputs: object, group: ChannelGroup, removed: list[int]) -> nn.Module:
    """The same heads taken out by Torch-Pruning's own group."""
    model.eval()
    graph = tp.DependencyGraph().build_dependency(
        model, inputs, output_transform=lambda out: out.logits, verbose=False
    )
    last = model.get_submodule(group.name)
    columns = [c for h in removed for c in rows(group, group.name)[h]]
    graph.get_pruning_group(last, tp.prune_linear_in_channels, columns).prune()
    return model


def vit() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        image_size=8,
        patch_size=4,
        num_channels=2,
        num_labels=4,
    )
    return transformers.ViTForImageClassification(config)


@pytest.mark.parametrize(
    ("factory", "inputs", "count"),
    [(ZOO["bert"].factory, ZOO["bert"].inputs, 2), (vit, ZOO["conv_bn"].inputs, 4)],
)
def test_heads_of_transformers_equal_torch_pruning_and_zeros(
    factory: object, inputs: object, count: int
) -> None:
    model = factory().eval()
    groups = heads_of(channel_groups(model, inputs))
    assert [group.units for group in groups] == [count, count]
    removed = [0]
    theirs = with_tp(factory(), inputs, groups[0], removed)
    small = remove_channels(model, {groups[0]: removed})
    for key, value in theirs.state_dict().items():
        assert torch.equal(small.state_dict()[key], value), key
    attention = small.get_submodule(groups[0].layers[1].rpartition(".")[0])
    assert attention.num_attention_heads == count - 1
    assert getattr(attention, "all_head_size", 16 - 16 // count) == 16 - 16 // count

    def logits(network: nn.Module) -> Tensor:
        return (network(**inputs) if isinstance(inputs, dict) else network(inputs)).logits

    zeroed = zero_channels(model, {groups[0]: removed})
    torch.testing.assert_close(logits(small), logits(zeroed), rtol=1e-5, atol=1e-5)


def test_heads_method_leaves_the_width_between_blocks() -> None:
    toy = ZOO["bert"]
    task = Task("classification", tuple("abcd"))
    model = toy.factory()
    small = load_method("heads")(
        model, ratio=1.7, data=InMemory(toy.inputs, toy.targets()), task=task
    )
    assert small.bert.embeddings.word_embeddings.weight.shape == (50, 16)
    assert small.bert.pooler.dense.weight.shape == (16, 16)
    for layer in small.bert.encoder.layer:
        assert layer.output.dense.out_features == 16
        assert layer.attention.self.query.out_features == 8
        assert layer.intermediate.dense.out_features < 32


def test_inner_channels_are_those_between_attentions() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftAlone)
        result = prune_structured(block(Fused), SEQUENCE, ratio=1.3, only="heads")
    assert {group.name for group in result.removed} == {"attention.proj", "up"}
    with pytest.raises(CannotTreat, match="no attention head"):
        prune_structured(ZOO["mlp"].factory(), ZOO["mlp"].inputs, ratio=1.3, only="heads")


def test_torch_attention_narrows_all_heads_alike() -> None:
    toy = ZOO["encoder"]
    with pytest.warns(LeftAlone, match=r"layer\.self_attn: its heads' widths add up"):
        prune_structured(toy.factory(), toy.inputs, ratio=1.3, only="heads")
    model = toy.factory().eval()
    group = max(channel_groups(model, toy.inputs).groups, key=lambda g: len(g.axes))
    assert rows(group, "layer.self_attn") == [(j, 4 + j, 8 + j, 12 + j) for j in range(4)]
    small = remove_channels(model, {group: [1]})
    attention = small.layer.self_attn
    assert (attention.embed_dim, attention.num_heads, attention.head_dim) == (12, 4, 3)
    # torch's fused layer, without gradients, reads the same weights and sizes.
    with torch.no_grad():
        fused = small(toy.inputs)
    torch.testing.assert_close(fused, small(toy.inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "fused", "tempered"),
    [(OfTheInput, "c_attn", True), (ScaledOfTheInput, "qkv", False)],
)
def test_heads_cut_from_the_input_get_narrower(
    kind: type[nn.Module], fused: str, tempered: bool
) -> None:
    torch.manual_seed(0)
    model = Stream(kind(), kind())
    groups = channel_groups(model, SEQUENCE).groups
    (group,) = groups
    assert {len(unit) for unit in rows(group, "head")} == {HEADS}
    assert bool(group.tempered) == tempered
    removed = [channel for unit in rows(group, "head")[1:3] for channel in unit]
    zeroed = copy.deepcopy(model)
    with torch.no_grad():
        for attention in zeroed.attentions:
            first, last = attention.get_submodule(fused), list(attention.children())[1]
            three = [start + channel for start in (0, WIDTH, 2 * WIDTH) for channel in removed]
            first.weight[three] = first.bias[three] = 0
            first.weight[:, removed] = last.weight[:, removed] = 0
            last.weight[removed] = last.bias[removed] = 0
        zeroed.inlet.weight[removed] = zeroed.inlet.bias[removed] = 0
        zeroed.head.weight[:, removed] = 0
    small = remove_channels(model, {group: [1, 2]})
    torch.testing.assert_close(small(SEQUENCE), zeroed(SEQUENCE), rtol=1e-5, atol=1e-5)
    assert small.attentions[1].get_submodule(fused).weight.shape == (24, 8)


def test_attention_with_other_key_widths_is_left_alone() -> None:
    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inlet = nn.Linear(5, 16)
            self.mix = nn.MultiheadAttention(16, 4, kdim=5, vdim=5, batch_first=True)
            self.up, self.head = nn.Linear(16, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            mixed, _ = self.mix(self.inlet(x), x, x)
            return self.head(F.relu(self.up(mixed)).mean(1))

    found = channel_groups(Cross(), SEQUENCE)
    assert [group.name for group in found.groups] == ["up"]
    assert any("another width" in entry.reason for entry in found.left_out)
