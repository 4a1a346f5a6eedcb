import pytest
import torch
import torch.nn.functional as F
from torch import nn

from overparam.compress import (
    apply_masks,
    global_mask,
    score_grasp,
    score_mag,
    score_random,
    score_snip,
    score_synflow,
    synflow_masks,
)
from overparam.training import Ensemble

G = torch.Generator().manual_seed(0)
X = torch.randn(24, 6, generator=G, dtype=torch.float64)
Y = torch.arange(24) % 4


def mlp(seed=0, bias=True):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 10, bias), nn.Tanh(), nn.Linear(10, 8, bias), nn.ReLU(), nn.Linear(8, 4, bias)
    ).double()


def convnet(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(80, 4),
    )  # fmt: skip


SCORERS = {
    "mag": lambda model, masks=None: score_mag(model, masks=masks),
    "random": lambda model, masks=None: score_random(
        model, seed=[0, 1, 2] if isinstance(model, Ensemble) else 0, masks=masks
    ),
    "snip": lambda model, masks=None: score_snip(model, *data(model), masks=masks),
    "grasp": lambda model, masks=None: score_grasp(model, *data(model), masks=masks),
    "synflow": lambda model, masks=None: score_synflow(model, data(model)[0], masks=masks),
}


def data(model):
    if isinstance(model, Ensemble):
        return X.expand(model.size, -1, -1), Y.expand(model.size, -1)
    return X, Y


def test_magnitude():
    model = mlp()
    assert torch.equal(score_mag(model)["2.weight"], model[2].weight.abs())
    assert list(score_mag(model)) == ["0.weight", "2.weight", "4.weight"]


def test_random_follows_the_seed():
    a, b, c = (score_random(mlp(), seed=s)["0.weight"] for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert (a > 0).all() and (a <= 1).all()
    with pytest.raises(ValueError, match="3 members"):
        score_random(Ensemble([mlp(s) for s in range(3)]), seed=[1, 2])


def test_snip_is_weight_times_batch_gradient():
    model = mlp()
    F.cross_entropy(model(X), Y).backward()
    for name, score in score_snip(model, X, Y).items():
        weight = model.get_parameter(name)
        assert torch.allclose(score, (weight * weight.grad).abs(), rtol=1e-12)


def test_snip_takes_other_losses():
    model = mlp()
    ours = score_snip(model, X, X[:, :4], loss=F.mse_loss)["4.weight"]
    F.mse_loss(model(X), X[:, :4]).backward()
    assert torch.allclose(ours, (model[4].weight * model[4].weight.grad).abs(), rtol=1e-12)


def gradient_norm(model, masks, temperature):
    weights = {n: (masks[n] * model.get_parameter(n).detach()).requires_grad_() for n in masks}
    logits = torch.func.functional_call(model, weights, (X,)) / temperature
    gradients = torch.autograd.grad(F.cross_entropy(logits, Y), list(weights.values()))
    return sum(float(g.square().sum()) for g in gradients)


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_is_half_the_derivative_of_the_gradient_norm(temperature):
    model = mlp()
    scores = score_grasp(model, X, Y, temperature=temperature)
    masks = {name: torch.ones_like(score) for name, score in scores.items()}
    largest = max(float(s.abs().max()) for s in scores.values())
    generator = torch.Generator().manual_seed(1)
    for entry in range(20):
        name = list(scores)[entry % 3]
        flat = masks[name].view(-1)
        i = int(torch.randint(len(flat), (), generator=generator))
        step, values = 1e-4, []
        for sign in (1, -1):
            flat[i] = 1 + sign * step
            values.append(gradient_norm(model, masks, temperature))
        flat[i] = 1.0
        numeric = 0.5 * (values[0] - values[1]) / (2 * step)
        exact = float(scores[name].view(-1)[i])
        assert numeric == pytest.approx(exact, rel=1e-3, abs=1e-6 * largest)


def test_grasp_equals_the_full_hessian():
    model = mlp()
    names = ["0.weight", "2.weight", "4.weight"]
    sizes = [model.get_parameter(n).numel() for n in names]
    w = torch.cat([model.get_parameter(n).detach().flatten() for n in names])

    def loss(flat):
        parts = flat.split(sizes)
        weights = {n: p.view_as(model.get_parameter(n)) for n, p in zip(names, parts, strict=True)}
        return F.cross_entropy(torch.func.functional_call(model, weights, (X,)) / 200, Y)

    product = torch.func.hessian(loss)(w) @ torch.func.grad(loss)(w)
    ours = torch.cat([s.flatten() for s in score_grasp(model, X, Y).values()])
    assert torch.allclose(ours, w * product, rtol=1e-8, atol=1e-20)


def test_grasp_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match="temperature is 0"):
        score_grasp(mlp(), X, Y, temperature=0)


def test_synflow_is_conserved_layer_by_layer():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 10, bias=False), nn.ReLU(), nn.Linear(10, 8, bias=False), nn.ReLU(),
        nn.Linear(8, 4, bias=False),
    )  # fmt: skip
    sums = [float(s.sum()) for s in score_synflow(model, X).values()]
    ones = torch.ones(1, 6, dtype=torch.float64)
    for layer in model:
        ones = ones @ layer.weight.double().abs().T if isinstance(layer, nn.Linear) else ones
    assert sums == pytest.approx([ones.sum().item()] * 3, rel=1e-8)
    assert all(s.dtype == torch.float64 for s in score_synflow(model, X.float()).values())


def test_synflow_uses_absolute_biases_and_buffers_in_eval_mode():
    model = convnet().train()
    with torch.no_grad():
        model[1].running_mean.fill_(-2.0)
        model[1].weight.fill_(-1.5)
    x = torch.randn(3, 2, 6, 6, generator=G)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    scores = score_synflow(model, x)
    assert model.training and model[3].training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    reference = convnet().eval().double()
    reference.load_state_dict({n: t.abs() for n, t in before.items()})
    reference(torch.ones(1, 2, 6, 6, dtype=torch.float64)).sum().backward()
    for name, score in scores.items():
        p = reference.get_parameter(name)
        assert torch.allclose(score, (p * p.grad).abs(), rtol=1e-12)


def test_modes_come_back_after_an_exception():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.drop = nn.Linear(6, 4), nn.Dropout()

        def forward(self, x):
            raise RuntimeError("broken forward")

    model = Broken().train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    for score in (lambda: score_synflow(model, X), lambda: score_snip(model, X.float(), Y)):
        with pytest.raises(RuntimeError, match="broken forward"):
            score()
        assert all(m.training for m in model.modules())
        assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_synflow_refuses_a_pass_that_is_not_finite():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x):
            return (-self.layer(x)).sqrt()

    with pytest.raises(ValueError, match=r"output \(shape \(1, 4\)\) is NaN"):
        score_synflow(Root(), X)
    model = mlp()
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"2\.weight"):
        score_synflow(model, X)


def test_scores_do_not_depend_on_dropout_nor_move_batch_statistics():
    model = convnet().train()
    x, y = torch.randn(8, 2, 6, 6, generator=G), torch.arange(8) % 4
    before = {n: t.clone() for n, t in model.state_dict().items()}
    for scorer in (score_snip, score_grasp):
        first, second = scorer(model, x, y), scorer(model, x, y)
        assert all(torch.equal(first[n], second[n]) for n in first)
        model.eval()
        assert not torch.allclose(scorer(model, x, y)["0.weight"], first["0.weight"])
        model.train()
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", SCORERS)
def test_an_ensemble_is_scored_as_its_members_alone(name):
    models = [mlp(s) for s in range(3)]
    together = SCORERS[name](Ensemble(models))
    for e, model in enumerate(models):
        alone = score_random(model, seed=e) if name == "random" else SCORERS[name](model)
        for key, score in alone.items():
            assert together[key].shape == (3, *score.shape)
            assert torch.allclose(together[key][e], score, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("name", SCORERS)
def test_masks_given_and_masks_carried_are_the_same(name):
    model = mlp()
    masks = global_mask(score_mag(model), 0.5)
    given, carried = SCORERS[name](model, masks), SCORERS[name](apply_masks(model, masks))
    full = SCORERS[name](model)
    for key, mask in masks.items():
        assert torch.allclose(given[key], carried[key], rtol=1e-10, atol=1e-18)
        assert (given[key][~mask] == 0).all()
    if name in ("snip", "grasp", "synflow"):
        assert not torch.allclose(
            given["0.weight"], torch.where(masks["0.weight"], full["0.weight"], 0.0)
        )


def test_masks_of_unknown_weights_are_refused():
    with pytest.raises(ValueError, match=r"'9\.weight'"):
        score_mag(mlp(), masks={"9.weight": torch.ones(2, dtype=torch.bool)})


def test_models_without_weights_are_refused():
    with pytest.raises(ValueError, match="no weight"):
        score_mag(nn.ReLU())


def naive_synflow(model, keep, rounds):
    """The iteration written out with plain modules."""
    absolute = [layer.weight.detach().double().abs() for layer in model if hasattr(layer, "weight")]
    biases = [layer.bias.detach().double().abs() for layer in model if hasattr(layer, "bias")]
    n = sum(w.numel() for w in absolute)
    alive = torch.ones(n, dtype=torch.bool)
    for t in range(1, rounds + 1):
        parts = alive.split([w.numel() for w in absolute])
        weights = [
            (w * m.view_as(w)).requires_grad_() for w, m in zip(absolute, parts, strict=True)
        ]
        h = torch.ones(1, 6, dtype=torch.float64)
        for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
            h = h @ w.T + b
            h = h.tanh() if i == 0 else h
        gradients = torch.autograd.grad(h.sum(), weights)
        scores = torch.cat(
            [(w * g).detach().flatten() for w, g in zip(weights, gradients, strict=True)]
        )
        scores[~alive] = -1
        count = max(round(n * keep), round(n * keep ** (t / rounds)))
        alive = torch.zeros(n, dtype=torch.bool)
        alive[scores.argsort(descending=True, stable=True)[:count]] = True
    return alive


def test_synflow_masks_equal_the_iteration_written_out():
    model = mlp(3)
    ours = torch.cat([m.flatten() for m in synflow_masks(model, X, count=35).values()])
    assert torch.equal(ours, naive_synflow(model, 35 / 172, 100))


def test_synflow_never_cuts_the_last_path():
    models = [mlp(s, bias=False) for s in range(4)]
    masks = synflow_masks(Ensemble(models), X.expand(4, -1, -1), count=6)
    for mask in masks.values():
        assert mask.flatten(1).any(1).all()
    assert sum(m.flatten(1).sum(1) for m in masks.values()).tolist() == [6] * 4
