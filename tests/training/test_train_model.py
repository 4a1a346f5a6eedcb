"""The loop for one module, against a plain loop; early stopping, distillation, randomness."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss, softmax

from overparam.datasets import InMemory
from overparam.errors import Diverged
from overparam.models import MLP, seeded
from overparam.training import Recipe, Task, all_outputs, mean_loss, train_model

CLASSES = Task("classification", ("a", "b", "c"))


def data(n=30, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator, dtype=dtype)
    return InMemory(x, x[:, :3].argmax(1))


def net(seed=0):
    return seeded(lambda: MLP((4, 8, 3)), seed).double()


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_it_equals_a_plain_loop(optimizer):
    recipe = Recipe(3, 0.05, optimizer, weight_decay=0.01, batch_size=8)
    made, plain, samples = net(), net(), data()
    train_model(made, samples, CLASSES, recipe, seed=5)
    options = {"lr": 0.05, "weight_decay": 0.01} | ({"momentum": 0.9} if optimizer == "sgd" else {})
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    steps = kind[optimizer](plain.parameters(), **options)
    for epoch, factor in enumerate((1, 0.75, 0.25)):
        steps.param_groups[0]["lr"] = 0.05 * factor
        for x, y in samples.batches(8, seed=5 * 1_000_003 + epoch):
            steps.zero_grad()
            cross_entropy(plain(x), y).backward()
            steps.step()
    for own, other in zip(made.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-12)
    assert not made.training


def test_the_best_validation_weights_stay():
    model, seen = net(), []
    validation = data(20, seed=1)
    history = train_model(
        model,
        data(),
        CLASSES,
        Recipe(12, 0.5, "sgd", batch_size=10),
        seed=0,
        validation=validation,
        progress=lambda epochs: (seen.append(e) or e for e in epochs),
    )
    best = min(history.validation_loss)
    assert history.validation_loss[history.best_epoch] == best
    assert mean_loss(model, validation, CLASSES) == pytest.approx(best, rel=1e-12)
    assert seen == list(range(12)) and len(history.frame()) == 12


def test_a_training_that_only_harms_leaves_the_weights_as_they_were():
    model = net()
    train_model(model, data(), CLASSES, Recipe(30, 0.1), seed=0)
    before = deepcopy(model.state_dict())
    wrong = InMemory(data().inputs, (data().targets + 1) % 3)
    history = train_model(
        model, wrong, CLASSES, Recipe(20, 0.05, patience=3), seed=0, validation=data()
    )
    assert history.best_epoch == -1 and len(history.train_loss) == 3
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


def test_distillation_is_the_loss_of_hinton():
    teacher, model = net(1), net(2)
    samples = data(8)
    expected = deepcopy(model)
    outputs = expected(samples.inputs)
    pull = kl_div(
        log_softmax(outputs / 3, -1),
        softmax(teacher(samples.inputs).detach() / 3, -1),
        reduction="batchmean",
    )
    (0.25 * cross_entropy(outputs, samples.targets) + 0.75 * 9 * pull).backward()
    train_model(
        model,
        samples,
        CLASSES,
        Recipe(1, 0.1, "sgd", batch_size=8),
        seed=0,
        teacher=teacher,
        temperature=3.0,
        distill_weight=0.75,
    )
    for start, end, own in zip(
        net(2).parameters(), model.parameters(), expected.parameters(), strict=True
    ):
        torch.testing.assert_close(end, start - 0.1 * own.grad, rtol=0, atol=1e-12)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_regression_distils_by_squared_distance():
    task = Task("regression")
    x = torch.randn(6, 4, dtype=torch.float64)
    teacher, model = nn.Linear(4, 1).double(), nn.Linear(4, 1).double()
    start, y = deepcopy(model), torch.zeros(6, dtype=torch.float64)
    loss = 0.1 * mse_loss(start(x)[:, 0], y) + 0.9 * mse_loss(start(x), teacher(x).detach())
    loss.backward()
    recipe = Recipe(1, 0.1, "sgd", batch_size=6)
    train_model(model, InMemory(x, y), task, recipe, seed=0, teacher=teacher)
    torch.testing.assert_close(model.weight, start.weight - 0.1 * start.weight.grad)


def test_dropout_follows_the_seed_and_the_global_state_is_left_alone():
    def trained(seed):
        model = nn.Sequential(
            seeded(lambda: nn.Linear(4, 16), 0),
            nn.Dropout(0.5),
            seeded(lambda: nn.Linear(16, 3), 1),
        )
        model = model.double()
        train_model(model, data(), CLASSES, Recipe(2, 0.1), seed=seed)
        return model[0].weight.detach()

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = trained(3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, trained(3)) and not torch.equal(first, trained(4))


def test_frozen_parameters_stay_and_a_last_batch_of_one_is_left_out():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    train_model(model, data(9), CLASSES, Recipe(2, 0.1, batch_size=8), seed=0)
    assert torch.equal(before, model[0].weight)


def test_what_is_called_on_the_way():
    calls = []
    train_model(
        net(),
        data(16),
        CLASSES,
        Recipe(2, 0.1, batch_size=8),
        seed=0,
        on_optimizer=lambda optimizer: calls.append(type(optimizer).__name__),
        on_step=lambda: calls.append("step"),
    )
    assert calls == ["AdamW", *["step"] * 4]


def test_no_epochs_train_nothing():
    model = net()
    history = train_model(model, data(), CLASSES, Recipe(0, 0.1), seed=0, validation=data())
    assert history.train_loss == () and history.best_epoch == -1
    assert all(map(torch.equal, model.parameters(), net().parameters()))


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_not_finite():
    with pytest.raises(Diverged, match="a lower learning rate than 1e"):
        train_model(net(), data(), CLASSES, Recipe(20, 1e200, "sgd"), seed=0)


def test_nothing_to_train():
    model = net().requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        train_model(model, data(), CLASSES, Recipe(1, 0.1), seed=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": -1}, "epochs is -1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"optimizer": "lion"}, "allowed adamw, adam, sgd"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"patience": 0}, "patience is 0"),
    ],
)
def test_recipes_out_of_range(change, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**{"epochs": 1, "learning_rate": 0.1, **change})


@pytest.mark.parametrize(("temperature", "weight"), [(0.0, 0.5), (1.0, 1.5), (1.0, -0.1)])
def test_distillation_out_of_range(temperature, weight):
    with pytest.raises(ValueError, match=r"allowed > 0 and 0\.\.1"):
        train_model(
            net(),
            data(),
            CLASSES,
            Recipe(1, 0.1),
            seed=0,
            teacher=net(),
            temperature=temperature,
            distill_weight=weight,
        )


class Wrapped(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, x, scale=1.0):
        return self.give(x * scale)


class Output:
    def __init__(self, logits):
        self.logits = logits


@pytest.mark.parametrize(
    "give", [lambda x: x, Output, lambda x: {"logits": x, "loss": None}, lambda x: (x, "state")]
)
def test_outputs_are_found_in_what_models_give(give):
    x = torch.randn(5, 3)
    assert torch.equal(CLASSES.outputs(Wrapped(give), x), x)


def test_tuples_and_dicts_reach_the_model():
    x = torch.randn(5, 3)
    model = Wrapped(lambda value: value)
    assert torch.equal(CLASSES.outputs(model, (x, 2.0)), 2 * x)
    assert torch.equal(CLASSES.outputs(model, {"x": x, "scale": 3.0}), 3 * x)


def test_outputs_that_are_no_tensor():
    with pytest.raises(TypeError, match="gives a dict without logits"):
        CLASSES.outputs(Wrapped(lambda x: {"hidden": x}), torch.zeros(1, 3))


def test_a_task_of_ones_own():
    task = Task(
        "regression",
        forward=lambda model, x: model(x) + 1,
        loss=lambda outputs, targets: (outputs - targets).abs().mean(),
    )
    assert float(task.loss_of(nn.Identity(), torch.zeros(2), torch.zeros(2))) == 1.0


@pytest.mark.parametrize(
    ("kind", "classes", "words"),
    [("ranking", (), "allowed: classification"), ("classification", ("a",), "at least two")],
)
def test_tasks_that_make_no_sense(kind, classes, words):
    with pytest.raises(ValueError, match=words):
        Task(kind, classes)


def test_all_outputs_in_their_order_and_in_eval_mode():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).double().train()
    samples = data(11)
    outputs, targets = all_outputs(model, samples, CLASSES, batch=4)
    assert model[1].training and torch.equal(targets, samples.targets)
    torch.testing.assert_close(outputs, model[0](samples.inputs))
