import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from toys.model_zoo import ZOO

from overparam.compress.channel_groups import channel_groups
from overparam.compress.channel_removal import remove_channels, zero_channels
from overparam.compress.group_threshold import couple_masks, group_threshold, merge_masks
from overparam.compress.layer_axes import Unfollowable


def sides(model: nn.Module, inputs: object) -> dict[str, set[tuple[str, str]]]:
    found = channel_groups(model, inputs)
    return {g.name: {(axis.layer, axis.side) for axis in g.axes} for g in found.groups}


def test_groups_of_a_residual_network_by_hand() -> None:
    toy = ZOO["residual"]
    assert sides(toy.factory(), toy.inputs) == {
        "wide": {("wide", "out"), ("head", "in")},
        "point": {("point", "out"), ("head", "in")},
        "body.0": {("body.0", "out"), ("body.2", "in")},
        "body.2": {
            ("body.2", "out"),
            ("stem", "out"),
            ("norm", "both"),
            ("body.0", "in"),
            ("wide", "in"),
            ("point", "in"),
            ("head", "in"),
        },
    }


def test_offsets_of_a_concatenation() -> None:
    toy = ZOO["residual"]
    offsets = {
        group.name: axis.channels[0]
        for group in channel_groups(toy.factory(), toy.inputs).groups
        for axis in group.axes
        if axis.layer == "head"
    }
    assert offsets == {"wide": (0,), "point": (6,), "body.2": (12,)}


def test_flattened_channels_and_grouped_convolutions() -> None:
    toy = ZOO["conv_bn"]
    groups = {g.name: g for g in channel_groups(toy.factory(), toy.inputs).groups}
    head = next(axis for axis in groups["4"].axes if axis.layer == "8")
    assert head.channels[3] == (12, 13, 14, 15)
    toy = ZOO["odd_convolutions"]
    groups = {g.name: g for g in channel_groups(toy.factory(), toy.inputs).groups}
    # Two groups of four read the eight dilated channels: k goes with k + 4.
    assert groups["dilated"].units == 4
    assert groups["dilated"].axes[0].channels[1] == (1, 5)


def test_a_gate_couples_the_halves_of_its_layer() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(5, 12), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            gate, value = self.up(x).chunk(2, dim=-1)
            return self.down(torch.sigmoid(gate) * value)

    (group,) = channel_groups(Gated(), torch.randn(4, 5)).groups
    assert group.units == 6
    assert {axis.layer: axis.channels[2] for axis in group.axes} == {"up": (2, 8), "down": (2,)}


def test_a_tied_embedding_joins_what_reads_and_what_writes_it() -> None:
    toy = ZOO["tied_decoder"]
    (group,) = channel_groups(toy.factory(), toy.inputs).groups
    assert set(group.layers) == {"embedding", "mixer", "decoder"}
    assert group.units == 8


def test_what_can_not_be_followed_is_named_with_a_reason() -> None:
    def left(name: str) -> dict[str, str]:
        toy = ZOO[name]
        found = channel_groups(toy.factory(), toy.inputs).left_out
        return {layer: entry.reason for entry in found for layer in entry.layers}

    assert "tied" in left("tied_layers")["layers.0"]
    assert left("recurrent") == {"lstm": "the state of a recurrent layer is not followed"}
    assert "does not reach" in left("unused")["unused"]
    assert "forward pass fails" in left("chunk_split_view")["up"]


def test_a_coupling_that_the_graph_misses_is_found_by_trial() -> None:
    class Rolled(nn.Module):
        """The graph takes a roll for an operation by element."""

        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(F.relu(self.up(x)).roll(1, dims=-1))

    found = channel_groups(Rolled(), torch.randn(4, 5))
    assert not found.groups
    (entry,) = found.left_out
    assert entry.layers == ("up",)
    assert "differ" in entry.reason


def test_a_softmax_over_channels_is_left_out_even_behind_a_tiny_scale() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(5, 8), nn.Linear(8, 3)
            self.scale = nn.Parameter(1e-7 * torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * self.down(self.up(x).softmax(-1))

    assert not channel_groups(Mixed(), torch.randn(4, 5)).groups


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.LSTMCell])
def test_around_a_recurrent_layer(kind: type[nn.Module]) -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inlet, self.state = nn.Linear(5, 8), kind(8, 6)
            self.up, self.head = nn.Linear(6, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.up(self.state(F.relu(self.inlet(x)))[0])))

    found = channel_groups(Around(), torch.randn(4, 5))
    assert "up" in {group.name for group in found.groups}
    reasons = {layer: entry.reason for entry in found.left_out for layer in entry.layers}
    assert reasons["state"] == "the state of a recurrent layer is not followed"
    followed = "inlet" in {group.name for group in found.groups}
    assert followed == (kind is nn.LSTM) == ("inlet" not in reasons)


def test_noise_in_the_forward_pass_hides_no_group() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.head = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.up(x + torch.randn_like(x))))

    model, inputs = Noisy(), torch.randn(4, 5)
    state = torch.random.get_rng_state()
    (group,) = channel_groups(model, inputs).groups
    assert group.name == "up"
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_model_is_not_changed() -> None:
    toy = ZOO["residual"]
    model = toy.factory().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    channel_groups(model, toy.inputs)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_kept_layers_and_unknown_ones() -> None:
    toy = ZOO["residual"]
    names = {g.name for g in channel_groups(toy.factory(), toy.inputs, keep=["body"]).groups}
    assert names == {"wide", "point"}
    with pytest.raises(ValueError, match="keep names"):
        channel_groups(toy.factory(), toy.inputs, keep=["boddy"])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_removed_equals_zeroed_for_any_units(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["residual", "odd_convolutions", "encoder", "conv_bn"]))
    toy = ZOO[name]
    model = toy.factory().eval()
    removal = {
        group: data.draw(
            st.lists(st.integers(0, group.units - 1), unique=True, max_size=group.units - 1)
        )
        for group in channel_groups(model, toy.inputs).groups
    }
    with torch.enable_grad():
        small = toy.call(remove_channels(model, removal))
        zeroed = toy.call(zero_channels(model, removal))
    torch.testing.assert_close(small, zeroed, rtol=1e-5, atol=1e-5)


def test_units_that_are_not_there() -> None:
    toy = ZOO["mlp"]
    (group,) = channel_groups(toy.factory(), toy.inputs).groups
    with pytest.raises(ValueError, match=r"allowed: some but not all of 0\.\.23"):
        remove_channels(toy.factory(), {group: range(24)})
    with pytest.raises(ValueError, match="allowed"):
        remove_channels(toy.factory(), {group: [24]})


def test_weights_that_are_masked_are_refused() -> None:
    from overparam.compress.masked_weight import mask_weight

    model = ZOO["mlp"].factory()
    mask_weight(model[0], torch.ones(24, 12, dtype=torch.bool))
    with pytest.raises(Unfollowable, match="prune channels first"):
        channel_groups(model, ZOO["mlp"].inputs)


def mask(bits: str) -> Tensor:
    return torch.tensor([bit == "1" for bit in bits])


@pytest.mark.parametrize(
    ("merge", "merged"),
    [("majority", "11001"), ("or", "11011"), ("and", "00001"), ("least", "01001")],
)
def test_merged_masks(merge: str, merged: str) -> None:
    masks = [mask("11001"), mask("10011"), mask("01001")]
    assert torch.equal(merge_masks(masks, merge), mask(merged))


def test_of_two_masks_the_majority_is_either() -> None:
    masks = [mask("1100"), mask("1010")]
    assert torch.equal(merge_masks(masks, "majority"), merge_masks(masks, "or"))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.floats(0, 0.99),
    st.integers(0, 1000),
)
def test_a_group_loses_exactly_its_share(sizes: list[int], rate: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = {str(k): torch.rand(size, generator=generator) for k, size in enumerate(sizes)}
    none = {"layer_keep": 0.0, "min_channels": lambda channels: 0}
    masks = group_threshold(scores, [list(scores)], [rate], **none)
    kept = torch.cat(list(masks.values()))
    assert int((~kept).sum()) == int(rate * sum(sizes))
    values = torch.cat(list(scores.values()))
    if kept.any() and not kept.all():
        assert values[kept].min() >= values[~kept].max()


def test_layers_keep_their_least_channels_and_ties_go_by_index() -> None:
    scores = {"thin": torch.full((16,), 0.1), "wide": torch.ones(16)}
    masks = group_threshold(scores, [["thin", "wide"]], [0.5])
    assert masks["thin"].nonzero().flatten().tolist() == [0, 1]
    assert masks["wide"].all()
    masks = group_threshold({"a": torch.ones(4)}, [["a"]], [0.5])
    assert masks["a"].tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("groups", "rates", "said"),
    [
        ([["a"]], [0.5], "allowed once"),
        ([["a", "b"], ["a"]], [0.5, 0.5], "allowed once"),
        ([["a", "b"]], [1.0], "rates"),
        ([["a", "b"]], [0.1, 0.1], "rates"),
    ],
)
def test_bad_groups(groups: list[list[str]], rates: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        group_threshold({"a": torch.ones(3), "b": torch.ones(3)}, groups, rates)


def test_masks_of_unequal_length() -> None:
    with pytest.raises(ValueError, match="equal"):
        merge_masks([mask("11"), mask("101")])
    with pytest.raises(ValueError, match="merge is"):
        merge_masks([mask("11")], "nor")  # type: ignore[arg-type]


def test_masks_of_coupled_layers_become_one_removal() -> None:
    toy = ZOO["residual"]
    model = toy.factory()
    groups = channel_groups(model, toy.inputs).groups
    masks = {"stem": mask("11110000"), "body.2": mask("00111100"), "body.0": mask("110000000000")}
    removal = couple_masks(masks, groups, "or")
    assert {g.name: units for g, units in removal.items()} == {
        "body.2": (6, 7),
        "body.0": tuple(range(2, 12)),
    }
    small = remove_channels(model, removal)
    assert small.stem.out_channels == small.norm.num_features == 6
    assert small.head.in_features == 18
    assert {g.name: u for g, u in couple_masks(masks, groups, "and").items()}["body.2"] == (
        0,
        1,
        4,
        5,
        6,
        7,
    )
    with pytest.raises(ValueError, match="shape"):
        couple_masks({"stem": mask("11")}, groups)
    with pytest.raises(ValueError, match="no channel"):
        couple_masks({"stem": mask("00000000")}, groups)
