import copy
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn
from toys.model_zoo import ZOO, Toy

from overparam.compress.channel_importance import put_gradients, random_importance
from overparam.compress.model_outputs import tensors_in
from overparam.compress.registry import CannotTreat, LeftAlone, load_method
from overparam.compress.structured import prune_structured
from overparam.datasets import InMemory
from overparam.training import Task


def prune_channels(*words: Any, **options: Any) -> nn.Module:
    """The model alone, which most tests look at."""
    return prune_structured(*words, **options).model


def task_of(toy: Toy) -> Task:
    if toy.classes:
        return Task("classification", tuple(map(str, range(toy.classes))))
    return Task("regression")


def data_of(toy: Toy) -> InMemory:
    return InMemory(toy.inputs, toy.targets())


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", LeftAlone)
        yield


class Dense(nn.Module):
    """Concatenated features, shortcuts across them, a grouped convolution, a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 12, 3, padding=1)
        self.a, self.b = nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(20, 8, 3, padding=1)
        self.mix = nn.Conv2d(28, 16, 1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.norm = nn.GroupNorm(2, 16)
        self.up = nn.ConvTranspose2d(16, 10, 2, stride=2)
        self.bn = nn.BatchNorm2d(10)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = torch.cat([x, F.relu(self.a(x))], 1)
        x = torch.cat([x, F.relu(self.b(x))], 1)
        x = self.norm(self.grouped(F.relu(self.mix(x))))
        return self.head(F.relu(self.bn(self.up(x))).mean((2, 3)))


def dense() -> nn.Module:
    torch.manual_seed(0)
    return Dense()


HEADS = {"conv_bn": "8", "residual": "head", "mlp": "3", "frozen": "4", "dense": "head"}


def by_hand(
    model: nn.Module, inputs: Tensor, output: str, importance: Callable[..., object], share: float
) -> nn.Module:
    """Torch-Pruning used directly, as its documentation does."""
    model.eval().requires_grad_(True)
    pruner = tp.pruner.BasePruner(
        model,
        inputs,
        importance=importance,
        global_pruning=True,
        pruning_ratio=share,
        ignored_layers=[model.get_submodule(output)],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    pruner.step()
    return model


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("importance", ["norm", "taylor", "random"])
@pytest.mark.parametrize("share", [0.21, 0.52])
def test_same_weights_as_torch_pruning_used_directly(
    name: str, importance: str, share: float
) -> None:
    toy = Toy(dense, ZOO["residual"].inputs, 4) if name == "dense" else ZOO[name]
    data, task = data_of(toy), task_of(toy)
    model = toy.factory().requires_grad_(True)
    scores = {
        "norm": tp.importance.GroupMagnitudeImportance(p=2),
        "taylor": tp.importance.GroupTaylorImportance(),
        "random": random_importance(3),
    }
    if importance == "taylor":
        put_gradients(model, data, task)
    theirs = by_hand(model, toy.inputs, HEADS[name], scores[importance], share)
    ratio = parameters(toy.factory()) / parameters(theirs)
    ours = prune_channels(
        toy.factory(), toy.inputs, ratio=ratio, importance=importance, data=data, task=task, seed=3
    )
    expected, kept = theirs.state_dict(), ours.state_dict()
    assert kept.keys() == expected.keys()
    for key, value in kept.items():
        assert torch.equal(value, expected[key]), key


def test_pruned_equals_dense_with_zeros_written_by_hand() -> None:
    toy = ZOO["conv_bn"]
    model = toy.factory()
    for _ in range(3):
        model(toy.inputs)
    model.eval()
    result = prune_structured(model, toy.inputs, ratio=2)
    removed = {group.name: list(units) for group, units in result.removed.items()}
    assert set(removed) == {"0", "4"}
    zeroed = copy.deepcopy(model)
    with torch.no_grad():
        zeroed[4].weight[:, removed["0"]] = 0
        zeroed[8].weight.view(4, 16, 4)[:, removed["4"]] = 0
    torch.testing.assert_close(result.model(toy.inputs), zeroed(toy.inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("method", ["channels", "channels_taylor", "channels_random", "heads"])
@pytest.mark.parametrize("ratio", [1.5, 4.0])
def test_every_network_is_pruned_or_refused_with_a_reason(
    name: str, method: str, ratio: float
) -> None:
    toy = ZOO[name]
    model = toy.factory().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    handed = {"ratio": ratio, "data": data_of(toy), "task": task_of(toy), "seed": 1}
    try:
        small = load_method(method)(model, **handed)
    except CannotTreat as error:
        assert len(str(error)) > 20
    else:
        assert parameters(small) <= round(parameters(model) / ratio)
        assert toy.call(small).shape == toy.call(copy.deepcopy(model)).shape
        assert all(module.training for module in small.modules())
        assert all(parameter.grad is None for parameter in small.parameters())
        needs = {key: value.requires_grad for key, value in model.named_parameters()}
        assert {key: value.requires_grad for key, value in small.named_parameters()} == needs
        task_of(toy).loss_of(small, toy.inputs, toy.targets()).backward()
        with torch.no_grad():
            assert toy.call(copy.deepcopy(small).eval()).isfinite().all()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_which_networks_are_treated() -> None:
    def treated(name: str) -> bool:
        toy = ZOO[name]
        try:
            prune_channels(toy.factory(), toy.inputs, ratio=1.3)
        except CannotTreat:
            return False
        return True

    assert {name for name in ZOO if not treated(name)} == {"linear", "tied_layers", "shared_module"}


@pytest.mark.parametrize("ratio", [1.2, 2.0, 3.0, 5.0])
def test_budget_is_met_with_the_fewest_channels(ratio: float) -> None:
    toy = ZOO["residual"]
    result = prune_structured(toy.factory(), toy.inputs, ratio=ratio)
    assert result.parameters == parameters(result.model)
    budget = round(result.dense_parameters / ratio)
    assert result.parameters <= budget
    total = 6 + 6 + 8 + 12
    less = by_hand(
        toy.factory(),
        toy.inputs,
        "head",
        tp.importance.GroupMagnitudeImportance(p=2),
        result.fraction - 1 / total,
    )
    assert parameters(less) > budget


def test_no_layer_is_emptied_and_what_is_left_is_told() -> None:
    toy = ZOO["residual"]
    with pytest.raises(CannotTreat, match="parameters stay with one unit in every group"):
        prune_channels(toy.factory(), toy.inputs, ratio=1000)
    least = prune_structured(toy.factory(), toy.inputs, ratio=20)
    assert all(parameter.numel() for parameter in least.model.parameters())
    assert all(len(units) < group.units for group, units in least.removed.items())


def test_a_unit_that_holds_much_gives_back_small_ones() -> None:
    toy = ZOO["encoder"]
    with pytest.warns(LeftAlone, match="whole units: 956 of 2,388 parameters stay, ratio 2.50"):
        result = prune_structured(toy.factory(), toy.inputs, ratio=2)
    assert {group.name for group in result.removed} == {"layer.linear2"}


def test_round_to() -> None:
    toy = ZOO["conv_bn"]
    small = prune_channels(toy.factory(), toy.inputs, ratio=2, round_to=4)
    assert small[0].out_channels % 4 == small[4].out_channels % 4 == 0
    assert parameters(small) <= parameters(toy.factory()) / 2


def test_kept_layers_stay() -> None:
    toy = ZOO["conv_bn"]
    small = prune_channels(toy.factory(), toy.inputs, ratio=1.5, keep=["4"])
    assert small[4].out_channels == 16
    assert small[0].out_channels < 8


def test_ties_and_shared_modules_stay() -> None:
    toy = ZOO["tied_decoder"]
    small = prune_channels(toy.factory(), toy.inputs, ratio=1.5)
    assert small.embedding.weight is small.decoder.weight
    assert small.embedding.embedding_dim == small.decoder.in_features < 8

    block = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 16))
    model = nn.Sequential(nn.Linear(12, 16), block, nn.ModuleList([block])[0], nn.Linear(16, 4))
    small = prune_channels(model, ZOO["mlp"].inputs, ratio=2)
    assert small[1] is small[2]
    assert small[1][0].in_features == small[0].out_features == small[3].in_features < 16


def test_bare_parameters_norms_and_buffers() -> None:
    class Scale(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(width))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight * x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()

    class Tokens(nn.Module):
        """Class token, position embedding, layer scale, norms of torch's and of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(2, 16, 4, 4)
            self.token = nn.Parameter(torch.randn(1, 1, 16))
            self.place = nn.Parameter(torch.randn(1, 5, 16))
            self.scale = nn.Parameter(1e-6 * torch.ones(16))
            self.first, self.second = nn.RMSNorm(16), Scale(16)
            self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)
            self.last = nn.LayerNorm(16)
            self.head = nn.Linear(16, 4)
            self.register_buffer("gain", torch.tensor(0.5))

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
            x = x + self.scale * self.down(F.gelu(self.up(self.second(self.first(x)))))
            return self.head(self.last(x)[:, 0] * self.gain)

    torch.manual_seed(0)
    model = Tokens()
    result = prune_structured(model, ZOO["conv_bn"].inputs, ratio=2)
    assert not result.left_out
    width = result.model.patch.out_channels
    assert width < 16
    assert result.model.place.shape == (1, 5, width)
    assert result.model.token.shape == (1, 1, width)
    assert result.model.first.normalized_shape == (width,)
    assert result.model.second.weight.shape == (width,)


def test_sizes_that_the_forward_pass_reads_follow() -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width, self.shape, self.flat = 12, (12, 16), 12 * 16
            self.conv = nn.Conv2d(2, 12, 3, stride=2, padding=1)
            self.head = nn.Linear(12 * 16, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x) + x.new_zeros(self.width, 1, 1)
            return self.head((x + x.new_ones(self.shape).view(-1, 4, 4)).reshape(-1, self.flat))

    small = prune_channels(Views(), ZOO["conv_bn"].inputs, ratio=2)
    width = small.conv.out_channels
    assert width < 12
    assert (small.width, small.flat, small.head.in_features) == (width, 16 * width, 16 * width)
    assert small.shape == (width, 16)


def test_a_reshape_that_the_graph_loses_is_left_alone_at_once() -> None:
    class There(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 12, 3, padding=1), nn.Linear(12 * 64, 4)
            self.spread = nn.Unflatten(1, (12, 8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.spread(self.conv(x).flatten(1)).flatten(1))

    with pytest.raises(CannotTreat, match="conv: torch-pruning loses track"):
        prune_channels(There(), ZOO["conv_bn"].inputs, ratio=2)


def test_layers_that_stay_are_named() -> None:
    toy = ZOO["recurrent"]
    with pytest.warns(LeftAlone, match="lstm: the state of a recurrent layer is not followed"):
        small = prune_channels(toy.factory(), toy.inputs, ratio=1.5)
    assert small.lstm.hidden_size == 6
    assert small.lstm.input_size == small.embedding.embedding_dim


def test_what_gives_no_gradient_is_refused() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.head = nn.Linear(12, 8), nn.Linear(8, 4)

        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.up(x))

    with pytest.raises(CannotTreat, match="no output depends on a parameter"):
        prune_channels(Detached(), ZOO["mlp"].inputs, ratio=2)


def test_a_graph_that_breaks_off_is_refused() -> None:
    class Cut(nn.Module):
        """Half of the way is outside of autograd, so that the graph does not see the reader."""

        def __init__(self) -> None:
            super().__init__()
            self.up, self.side, self.head = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.up(x)
            return self.head(x + self.side(x.detach()).detach())

    with pytest.raises(CannotTreat, match="up"):
        prune_channels(Cut(), ZOO["mlp"].inputs, ratio=2)


def test_outputs_that_point_back_at_what_holds_them() -> None:
    given = SimpleNamespace(logits=torch.zeros(2), parts=[torch.ones(3)])
    given.own = given
    given.parts.append(given)
    assert [tensor.numel() for tensor in tensors_in(given)] == [2, 3]


@pytest.mark.parametrize("kind", [dict, SimpleNamespace])
def test_other_outputs_than_the_logits_keep_their_widths(kind: type) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.mid, self.head = nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Any:
            features = F.relu(self.mid(F.relu(self.up(x))))
            return kind(logits=self.head(features), features=features)

    task = Task("classification", tuple("abcd"))
    small = prune_channels(Two(), ZOO["mlp"].inputs, ratio=1.5, task=task)
    given = small(ZOO["mlp"].inputs)
    assert (given if kind is dict else vars(given))["features"].shape == (6, 16)
    assert small.up.out_features < 16


def test_the_task_says_how_the_batch_reaches_the_model() -> None:
    toy = ZOO["two_inputs"]
    image, numbers = ZOO["tuple_inputs"].inputs
    task = Task(
        "classification",
        tuple("abcd"),
        forward=lambda model, batch: model(batch["picture"], batch["row"]),
    )
    inputs = {"picture": image, "row": numbers}
    small = prune_channels(toy.factory(), inputs, ratio=2, task=task)
    assert torch.equal(small(image, numbers), task.outputs(small, inputs))


def test_gradients_of_batches_add_up_to_that_of_all() -> None:
    toy = ZOO["mlp"]
    one, two = toy.factory(), toy.factory().eval()
    put_gradients(one, data_of(toy), task_of(toy), batch=4)
    task_of(toy).loss_of(two, toy.inputs, toy.targets()).backward()
    for ours, theirs in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_random_depends_on_its_seed_alone() -> None:
    toy = ZOO["conv_bn"]

    def pruned(seed: int) -> dict[str, Tensor]:
        model = toy.factory()
        small = prune_channels(model, toy.inputs, ratio=2, importance="random", seed=seed)
        return small.state_dict()

    first = pruned(0)
    torch.manual_seed(99)
    again, other = pruned(0), pruned(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(
        first[key].shape != other[key].shape or not torch.equal(first[key], other[key])
        for key in first
    )


def test_threads_do_not_disturb_each_other() -> None:
    names = ["residual", "conv_bn", "encoder", "bert", "odd_convolutions"] * 2
    models = {name: ZOO[name].factory() for name in set(names)}

    def pruned(name: str) -> dict[str, Tensor]:
        return prune_channels(models[name], ZOO[name].inputs, ratio=1.5).state_dict()

    alone = {name: pruned(name) for name in set(names)}
    with ThreadPoolExecutor(4) as pool:
        for name, state in zip(names, pool.map(pruned, names), strict=True):
            assert all(torch.equal(state[key], alone[name][key]) for key in state)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    toy = ZOO["residual"]
    prune_channels(toy.factory(), toy.inputs, ratio=2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ratio": 1.0}, "ratio is 1.0"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"round_to": 0}, "round_to is 0"),
        ({"importance": "magnitude"}, "importance is 'magnitude'"),
        ({"importance": "taylor"}, "needs data and task"),
        ({"keep": ["nowhere"]}, "keep names"),
    ],
)
def test_bad_input(changed: dict[str, object], said: str) -> None:
    toy = ZOO["mlp"]
    with pytest.raises(ValueError, match=said):
        prune_channels(toy.factory(), toy.inputs, **{"ratio": 2.0, **changed})
