"""What a method trained, saved apart and put back."""

import copy

import pytest
import torch

from overparam.adapt import METHODS, apply_method, load_tuned, ssf_state, tuned_state
from overparam.models import TinyViT, seeded


def prepared(method, seed=0):
    return apply_method(seeded(TinyViT, 0), method, size=2, seed=seed).eval()


@pytest.mark.parametrize("method", METHODS)
def test_with_the_pretrained_weights_it_is_the_whole_tuned_model(method):
    tuned = prepared(method, seed=1)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    again = load_tuned(prepared(method), tuned_state(tuned))
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(x), tuned(x))
    assert all(torch.equal(t, tuned.state_dict()[n]) for n, t in again.state_dict().items())


def test_of_ssf_it_is_pairs_and_head_as_copies():
    net = prepared("ssf")
    state = tuned_state(net)
    assert state.keys() - ssf_state(net).keys() == {"head.weight", "head.bias"}
    before = net.head.bias.detach().clone()
    state["head.bias"].add_(1)
    assert torch.equal(net.head.bias, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm.ssf.scale"), "norm.ssf.scale is missing from the tuned state"),
        (lambda s: s.update(more=torch.zeros(1)), "more is missing from what the model trains"),
        (lambda s: s.update({"head.bias": torch.zeros(3)}), r"head.bias is \(10,\) in the model"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(change, message):
    net = prepared("ssf")
    before, state = copy.deepcopy(net.state_dict()), {n: t + 1 for n, t in tuned_state(net).items()}
    change(state)
    with pytest.raises(RuntimeError, match=message):
        load_tuned(net, state)
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_a_frozen_model_has_none():
    with pytest.raises(ValueError, match="no parameter with requires_grad=True"):
        tuned_state(seeded(TinyViT, 0).requires_grad_(False))
