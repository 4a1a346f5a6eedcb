import sys
import warnings
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div
from toys.model_zoo import ZOO

from overparam.compress import (
    ActivationQuantizer,
    CannotTreat,
    LeftAlone,
    QuantisedWeight,
    annealed_exponent,
    apply_masks,
    clipped_grid,
    global_mask,
    gptq_model,
    integer_weights,
    list_blocks,
    ptq,
    quantize_model,
    reconstruct_block,
    round_to_nearest,
    rounding_term,
    score_mag,
)
from overparam.compress.fake_quantised import FakeQuantised
from overparam.datasets import digits
from overparam.models import seeded


def images():
    data = digits()
    x = torch.tensor(data.x).view(-1, 1, 8, 8) / 16
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order], torch.tensor(data.y)[order]


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


@pytest.fixture(scope="module")
def trained():
    """A network on digits, its calibration images, and test images with labels."""
    x, y = images()
    model = seeded(cnn, 0)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        for rows in torch.randperm(1000, generator=generator).split(50):
            optimizer.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval(), x[:256], x[1000:], y[1000:]


@torch.no_grad()
def divergence(model, teacher, x):
    logs = model(x).log_softmax(1), teacher(x).log_softmax(1)
    return float(kl_div(*logs, log_target=True, reduction="batchmean"))


def accuracy(model, x, y):
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


# Activations


def test_lsq_gradients():
    quantizer = ActivationQuantizer(3).eval()
    quantizer.calibrate(torch.tensor([-1.0, 1.0]))
    quantizer.scale.data.fill_(0.5)
    assert quantizer.levels == (-4, 3)
    for value, level, slope in [
        (0.6, 1, 1 - 1.2),
        (-0.9, -2, -2 + 1.8),
        (1.45, 3, 3 - 2.9),
        (1.6, 3, 3),
        (9.0, 3, 3),
        (-2.3, -4, -4),
    ]:
        x = torch.tensor([value], requires_grad=True)
        quantizer.scale.grad = None
        out = quantizer(x)
        out.sum().backward()
        assert out.item() == level * 0.5
        assert quantizer.scale.grad.item() == pytest.approx(slope, abs=1e-6)
        assert x.grad.item() == float(-2 < value < 1.5)


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_range_follows_the_sign_of_the_activations(bits):
    generator = torch.Generator().manual_seed(bits)
    x = torch.randn(50, 8, generator=generator)
    signed, unsigned = ActivationQuantizer(bits).eval(), ActivationQuantizer(bits).eval()
    signed.calibrate(x)
    unsigned.calibrate(x.relu())
    assert signed.levels == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert unsigned.levels == (0, 2**bits - 1)
    for quantizer, values in ((signed, x), (unsigned, x.relu())):
        low, high = quantizer.levels
        integers = quantizer(values).detach() / quantizer.scale.detach()
        assert torch.allclose(integers, integers.round(), atol=1e-4)
        assert low <= integers.min().round().item() <= integers.max().round().item() <= high
        widest = values.abs().max() * (2 if quantizer is signed else 1) / (2**bits - 1)
        errors = []
        for percent in range(1, 101):
            scale = widest * percent / 100
            rounded = (values / scale).round().clamp(low, high) * scale
            errors.append((rounded - values).abs().pow(2.4).mean().item())
        ours = (quantizer(values).detach() - values).abs().pow(2.4).mean().item()
        assert ours == pytest.approx(min(errors), rel=1e-4)


def test_qdrop_keeps_entries_with_its_probability_and_only_in_train_mode():
    x = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    for drop in (0.0, 0.3, 1.0):
        quantizer = ActivationQuantizer(2, drop, torch.Generator().manual_seed(1))
        quantizer.calibrate(x)
        rounded = quantizer.eval()(x)
        mixed = quantizer.train()(x)
        kept = mixed == x
        assert torch.equal(mixed[~kept], rounded[~kept])
        # Nearly all of the entries move when they are rounded.
        assert kept.float().mean().item() == pytest.approx(drop, abs=0.02)
    quantizer.generator.manual_seed(5)
    first = quantizer(x)
    quantizer.generator.manual_seed(5)
    assert torch.equal(quantizer(x), first)


def test_bad_activation_quantisers_are_refused():
    with pytest.raises(ValueError, match="bits is 1"):
        ActivationQuantizer(1)
    for drop in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="allowed 0 <= drop <= 1"):
            ActivationQuantizer(4, drop)
    quantizer = ActivationQuantizer(4)
    with pytest.raises(RuntimeError, match=r"calibrate\(\) it first"):
        quantizer(torch.ones(3))
    with pytest.raises(ValueError, match="no entry"):
        quantizer.calibrate(torch.ones(0))
    with pytest.raises(ValueError, match="NaN or infinite"):
        quantizer.calibrate(torch.tensor([1.0, float("nan")]))
    quantizer.calibrate(torch.zeros(3))
    assert quantizer.scale.item() == 1.0
    with pytest.raises(RuntimeError, match="needs a generator"):
        quantizer.train()(torch.ones(3))


# The rounding term


def test_annealing():
    assert [annealed_exponent(t, 1000) for t in (0, 100, 199, 200)] == [20.0] * 4
    assert annealed_exponent(600, 1000) == pytest.approx(11)
    assert annealed_exponent(1000, 1000) == pytest.approx(2)


def test_rounding_term_by_hand():
    h = torch.tensor([0.0, 0.3, 0.5, 1.0])
    assert rounding_term(h, 2.0).item() == pytest.approx(1.84, abs=1e-6)
    assert rounding_term(torch.tensor([0.0, 1.0]), 7.0).item() == 0


# Reconstruction of one layer


def one_layer(bits=2, seed=0, samples=200):
    generator = torch.Generator().manual_seed(seed)
    layer = seeded(lambda: nn.Linear(10, 4), seed)
    blend = torch.randn(10, 10, generator=generator)
    x = torch.randn(samples, 10, generator=generator) @ blend
    return layer, quantize_model(layer, bits, first_last=None), x, layer(x).detach()


def test_reconstruction_lowers_the_output_error_of_nearest_rounding():
    ratios = []
    for seed in range(3):
        _, q_layer, x, y = one_layer(seed=seed)
        before = (q_layer(x) - y).square().mean().item()
        errors = reconstruct_block(q_layer, x, x, y, 300, seed=0, lr_rounding=0.03, channel_axis=-1)
        assert errors.shape == (300,)
        ratios.append((q_layer(x) - y).square().mean().item() / before)
        assert q_layer.weight_quantizer.mode == "hard"
    assert max(ratios) < 1
    assert sum(ratios) / 3 < 0.7


def test_it_finds_one_of_the_best_of_all_roundings_of_a_small_layer():
    sums = {"ours": 0.0, "nearest": 0.0, "best": 0.0}
    choices = torch.cartesian_prod(*[torch.arange(2)] * 12)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(100, 12, generator=generator) @ torch.randn(12, 12, generator=generator)
        layer = seeded(lambda: nn.Linear(12, 1, bias=False), seed)
        q_layer = quantize_model(layer, 3, first_last=None)
        y = layer(x).detach()
        quantizer = q_layer.weight_quantizer
        scale, zero = quantizer.scale.detach(), quantizer.zero
        codes = ((layer.weight.detach() / scale).floor() + choices + zero).clamp(0, 7)
        errors = (x @ ((codes - zero) * scale).T - y).square().mean(0)
        sums["nearest"] += (q_layer(x) - y).square().mean().item()
        sums["best"] += errors.min().item()
        arguments = {"lr_rounding": 0.05, "lr_scale": 0.0, "relative": True, "round_weight": 200.0}
        reconstruct_block(q_layer, x, x, y, 300, seed=0, channel_axis=-1, **arguments)
        ours = (q_layer(x) - y).square().mean().item()
        sums["ours"] += ours
        assert (errors - ours).abs().min() < 1e-6
        # Among the best hundredth of the 4096.
        assert int((errors < ours - 1e-6).sum()) <= 40
    assert sums["best"] <= sums["ours"] < sums["best"] / 2 + sums["nearest"] / 2


def test_reconstruction_repeats_by_its_seed_and_moves_no_global_generator():
    results = []
    for seed in (0, 0, 1):
        _, q_layer, x, y = one_layer()
        state = torch.get_rng_state()
        reconstruct_block(q_layer, x, x, y, 50, seed=seed, lr_rounding=0.1, channel_axis=-1)
        assert torch.equal(torch.get_rng_state(), state)
        results.append(q_layer.weight_quantizer.scale.detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_relative_round_weight_makes_the_result_independent_of_the_outputs_size():
    codes = []
    for size in (1.0, 2.0**-7, 2.0**7):
        layer, _, x, _ = one_layer()
        with torch.no_grad():
            layer.weight.mul_(size)
            layer.bias.mul_(size)
        q_layer = quantize_model(layer, 2, first_last=None)
        arguments = {"relative": True, "round_weight": 200.0, "lr_scale": 0.0, "lr_rounding": 0.05}
        y = layer(x).detach()
        reconstruct_block(q_layer, x, x, y, 100, seed=0, channel_axis=-1, **arguments)
        codes.append(q_layer.weight_quantizer.codes)
    assert torch.equal(codes[0], codes[1])
    assert torch.equal(codes[0], codes[2])
    soft = quantize_model(layer, 2)
    soft.soften()
    with pytest.raises(ValueError, match="this one is soft"):
        reconstruct_block(soft, x, x, y, 5, seed=0, relative=True)


def test_no_step_leaves_nearest_rounding():
    layer, q_layer, x, y = one_layer()
    assert reconstruct_block(q_layer, x, x, y, 0, seed=0).shape == (0,)
    grid = clipped_grid(layer.weight, 2)
    assert torch.equal(q_layer.weight, grid.values(grid.codes(layer.weight)))


def test_scales_stay_positive_whatever_the_rate():
    _, q_layer, x, y = one_layer()
    start = q_layer.weight_quantizer.scale.detach().clone()
    reconstruct_block(q_layer, x, x, y, 30, seed=0, lr_scale=10.0, channel_axis=-1)
    assert bool((q_layer.weight_quantizer.scale >= 0.0099 * start).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iters": -1}, "iters is -1"),
        ({"batch": 0}, "batch is 0"),
        ({"mix": 1.5}, "mix is 1.5"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"x": torch.zeros(3, 10)}, "the same samples"),
        ({"x": torch.zeros(0, 10), "x_q": torch.zeros(0, 10), "y": torch.zeros(0, 4)}, "at least"),
        ({"y": torch.full((200, 4), float("nan"))}, "y has entries that are NaN"),
        ({"q_block": nn.Linear(10, 4)}, "no quantised layer"),
    ],
)
def test_bad_reconstructions_are_refused(change, message):
    _, q_layer, x, y = one_layer()
    given = {"q_block": q_layer, "x": x, "x_q": x, "y": y, "iters": 5, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        reconstruct_block(**given)


# Whole models


def test_bits_go_to_the_layers_as_they_should(trained):
    model = trained[0]
    quantised = quantize_model(model, 2, 4)
    layers = [quantised[i] for i in (0, 2, 5, 9)]
    assert [layer.weight_quantizer.bits for layer in layers] == [8, 2, 2, 8]
    assert layers[0].input_quantizer is None
    assert [layer.input_quantizer.bits for layer in layers[1:]] == [4, 4, 8]
    plain = quantize_model(model, 2, first_last=None)
    assert [plain[i].weight_quantizer.bits for i in (0, 2, 5, 9)] == [2] * 4
    assert all(plain[i].input_quantizer is None for i in (0, 2, 5, 9))
    other = quantize_model(model, 2, 4, order=["9", "5", "2", "0"])
    assert other[9].input_quantizer is None
    assert other[0].input_quantizer.bits == 8


def test_eight_bits_change_next_to_nothing(trained):
    model, calibration, x, y = trained
    quantised = ptq(model, [calibration], w_bits=8, a_bits=8, seed=0, iters=0)
    assert abs(accuracy(quantised, x, y) - accuracy(model, x, y)) <= 0.005
    assert divergence(quantised, model, x) < 1e-3


def test_learned_and_compensated_rounding_beat_nearest_on_digits_at_four_bits(trained):
    model, calibration, x, _ = trained
    bits = 4
    nearest = round_to_nearest(model, lambda w: clipped_grid(w, bits))
    learned = integer_weights(
        ptq(
            model,
            calibration.split(64),
            w_bits=bits,
            first_last=None,
            seed=0,
            iters=150,
            mix=0.0,
            lr_rounding=0.05,
            lr_scale=0.0,
            round_weight=200.0,
            relative=True,
        )
    )
    compensated = gptq_model(model, calibration.split(64), bits, levels="clipped")
    for rival in (learned, compensated):
        assert divergence(rival, model, calibration) < 0.5 * divergence(nearest, model, calibration)
        assert divergence(rival, model, x) < divergence(nearest, model, x)


def test_reconstruction_helps_at_two_bits_for_weights_and_activations(trained):
    model, calibration, x, _ = trained
    batches = [calibration[:64]]
    nearest = ptq(model, batches, w_bits=2, a_bits=2, seed=0, iters=0)
    learned = ptq(model, batches, w_bits=2, a_bits=2, seed=0, iters=200)
    assert divergence(learned, model, x) < 0.6 * divergence(nearest, model, x)


def test_quantisation_repeats_by_its_seed(trained):
    model, calibration, x, _ = trained
    first, again, other = (
        ptq(model, [calibration], w_bits=2, a_bits=2, seed=seed, iters=8)(x).detach()
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_more_samples_per_block_come_from_augment(trained):
    model, calibration, _, _ = trained
    seen = []

    def noisy(block, teacher, student):
        seen.append(block)
        assert not any(isinstance(m, FakeQuantised) for m in teacher.modules())
        generator = torch.Generator().manual_seed(len(seen))
        return [calibration + 0.1 * torch.randn(calibration.shape, generator=generator)]

    arguments = {"w_bits": 2, "a_bits": 2, "seed": 0, "iters": 6}
    plain = ptq(model, [calibration], **arguments)
    augmented = ptq(model, [calibration], augment=noisy, **arguments)
    assert seen == ["0", "2", "5", "9"]
    assert augmented[2].input_quantizer.scale != plain[2].input_quantizer.scale
    with pytest.raises(ValueError, match="batch 1 of calib is empty"):
        ptq(model, [calibration], augment=lambda *_: [calibration[:0]], **arguments)


def test_blocks_of_several_layers_are_reconstructed_together():
    toy = ZOO["residual"]
    model = toy.factory().eval()
    assert list_blocks(model) == ["stem", "body.0", "body.2", "wide", "point", "head"]
    assert list_blocks(model, [nn.Sequential]) == ["stem", "body", "wide", "point", "head"]
    assert list_blocks(model, [type(model)]) == [""]
    x = torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    arguments = {"w_bits": 2, "a_bits": 3, "seed": 0, "types": [nn.Sequential]}
    nearest = ptq(model, [x], iters=0, **arguments)
    joint = ptq(model, [x], iters=60, lr_rounding=0.1, **arguments)
    wanted = model(x).detach()
    assert (joint(x) - wanted).square().sum() < 0.7 * (nearest(x) - wanted).square().sum()


def test_inputs_come_from_the_quantised_prefix(trained, monkeypatch):
    model, calibration, _, _ = trained
    met = []

    def spy(q_block, x, x_q, y, iters, **rest):
        met.append((x, x_q))
        return reconstruct_block(q_block, x, x_q, y, iters, **rest)

    monkeypatch.setattr(sys.modules["overparam.compress.ptq"], "reconstruct_block", spy)
    quantised = ptq(model, [calibration], w_bits=2, seed=0, iters=10)
    assert torch.equal(met[0][0], met[0][1])
    with torch.no_grad():
        assert torch.equal(met[1][0], model[:2](calibration))
        assert torch.equal(met[1][1], quantised[:2](calibration))


class WritesIntoItsInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(x.relu_())


def test_blocks_that_write_into_their_input_are_no_trouble(monkeypatch):
    model = seeded(lambda: nn.Sequential(nn.Conv2d(2, 2, 1), WritesIntoItsInput()), 0).eval()
    met = []

    def spy(q_block, x, x_q, y, iters, **rest):
        met.append((x.clone(), y))
        return reconstruct_block(q_block, x, x_q, y, iters, **rest)

    monkeypatch.setattr(sys.modules["overparam.compress.ptq"], "reconstruct_block", spy)
    x = torch.randn(20, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    ptq(model, [x], w_bits=3, seed=0, iters=5, types=[WritesIntoItsInput])
    with torch.no_grad():
        between = model[0](x)
        assert bool((between < 0).any())
        assert torch.equal(met[1][0], between)
        assert torch.allclose(met[1][1], model[1](between))


def test_the_model_and_its_statistics_stay(trained):
    model = deepcopy(ZOO["conv_bn"].factory()).train()
    x = ZOO["conv_bn"].inputs
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quantised = ptq(model, [x], w_bits=3, a_bits=4, seed=0, iters=5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert torch.equal(quantised[1].running_mean, model[1].running_mean)
    assert all(p.grad is None for p in quantised.parameters())


def test_stored_integers_compute_the_same():
    for name in ("conv_bn", "tied_layers", "shared_module", "tied_decoder"):
        toy = ZOO[name]
        first = {"tied_layers": ["layers.0", "head"]}.get(name)
        with warnings.catch_warnings():
            # The padding row of the table is all zero.
            warnings.filterwarnings("ignore", message=".* all zero", category=UserWarning)
            arguments = {"w_bits": 4, "first_last": None, "blocks": first}
            fake = ptq(toy.factory(), [toy.inputs], seed=0, iters=5, **arguments)
        stored = integer_weights(fake)
        assert torch.equal(toy.call(stored), toy.call(fake))
        layers = [m for m in stored.modules() if isinstance(m, QuantisedWeight)]
        fakes = [m for m in fake.modules() if isinstance(m, FakeQuantised)]
        assert len(layers) == len(fakes) > 0
        assert not any(isinstance(m, FakeQuantised) for m in stored.modules())
        assert len({id(m.weight_codes) for m in layers}) == len(
            {id(m.weight_quantizer) for m in fakes}
        )


def test_only_finished_weights_can_be_stored(trained):
    with pytest.raises(ValueError, match="untouched inputs can be stored"):
        integer_weights(quantize_model(trained[0], 4, 4))
    soft = quantize_model(trained[0], 4)
    soft[0].soften()
    with pytest.raises(ValueError, match="finished weights"):
        integer_weights(soft)


def test_masked_weights_stay_zero_through_learning():
    toy = ZOO["mlp"]
    model = toy.factory()
    masked = apply_masks(model, global_mask(score_mag(model), 0.3))
    with pytest.warns(UserWarning, match="all zero"):
        learned = ptq(masked, [toy.inputs], w_bits=2, seed=0, iters=40, lr_rounding=0.2)
    quantised = integer_weights(learned)
    for index in (0, 3):
        kept = masked[index].weight_mask
        assert not bool(quantised[index].weight[~kept].any())
        assert bool(quantised[index].weight[kept].any())


def test_activations_of_torchs_own_transformer_layer_are_rounded():
    toy = ZOO["encoder"]
    model = toy.factory().eval()
    with pytest.warns(LeftAlone, match=r"out_proj: nn\.MultiheadAttention hides the input"):
        quantised = ptq(model, [toy.inputs], w_bits=8, a_bits=2, seed=0, iters=0)
    caught = []
    inner = quantised.layer.linear2
    inner.input_quantizer.register_forward_hook(lambda _, x, out: caught.append(out))
    with torch.no_grad():
        quantised(toy.inputs)
    assert len(caught[0].unique()) <= 4


def test_blocks_that_share_a_weight_are_refused():
    tied = ZOO["tied_layers"].factory()
    with pytest.raises(ValueError, match=r"'layers\.0' and 'layers\.1' share a weight"):
        list_blocks(tied)
    assert list_blocks(ZOO["tied_decoder"].factory()) == ["mixer"]
    assert list_blocks(ZOO["shared_module"].factory()) == ["blocks.0.0", "head"]


def test_a_block_that_takes_more_than_a_tensor_is_refused():
    toy = ZOO["tuple_inputs"]
    model = toy.factory()
    with pytest.raises(CannotTreat, match="is called with 2 arguments"):
        ptq(model, [toy.inputs], w_bits=4, seed=0, iters=2, types=[type(model)])


def test_a_convolution_at_several_sizes_is_refused_by_name():
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return self.conv(x).mean() + self.conv(x[..., ::2, ::2]).mean()

    x = torch.ones(4, 1, 8, 8)
    with pytest.raises(CannotTreat, match=r"'conv' is called with inputs of different shapes"):
        ptq(Pyramid(), [x], w_bits=4, seed=0, iters=2)
    assert isinstance(gptq_model(Pyramid(), [x], 4).conv, QuantisedWeight)


@pytest.mark.parametrize(
    ("calib", "message"),
    [
        ([], "calib holds no batch"),
        ([torch.zeros(0, 12)], "batch 0 of calib is empty"),
        ([torch.full((2, 12), float("nan"))], "NaN or infinite"),
        ([[1, 2]], "allowed are inputs of the model"),
    ],
)
def test_bad_calibration_is_refused(calib, message):
    with pytest.raises(ValueError, match=message):
        ptq(ZOO["mlp"].factory(), calib, w_bits=4, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w_bits": 1}, "bits is 1"),
        ({"a_bits": 9}, "bits is 9"),
        ({"first_last": 16}, "bits is 16"),
        ({"drop": 2.0, "a_bits": 4}, "drop is 2.0"),
        ({"skip": ["nothing"]}, "skip names 'nothing'"),
    ],
)
def test_bad_numbers_are_refused(change, message):
    toy = ZOO["mlp"]
    with pytest.raises(ValueError, match=message):
        ptq(toy.factory(), [toy.inputs], **({"w_bits": 4, "seed": 0, "iters": 1} | change))
    with pytest.raises(ValueError, match="names no layer"):
        quantize_model(toy.factory(), 4, order=["0.weight"])
