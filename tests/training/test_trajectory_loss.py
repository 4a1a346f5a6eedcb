from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.training import squared_trajectory_loss, trajectory_loss
from overparam.training.trajectory_loss import (
    member_kl,
    member_losses,
    squared_change,
    trajectory_kl,
)

NOW = torch.tensor([[2, 0, -1], [0.5, 0.5, 0]], dtype=torch.float64)
PAST = torch.tensor([[1, 1, 0], [0, 2, -2]], dtype=torch.float64)


def random_pair(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return pair[0], pair[1]


def test_derivatives_by_finite_differences():
    now, past = NOW.clone().requires_grad_(), PAST
    loss = partial(trajectory_loss, past=past, tau=2.0)
    assert torch.autograd.gradcheck(loss, (now,))
    assert torch.autograd.gradgradcheck(loss, (now,))
    valid = torch.tensor([[True], [False]])
    members = partial(member_kl, past=PAST.unsqueeze(1), valid=valid, tau=2.0)
    assert torch.autograd.gradcheck(members, (now.unsqueeze(1),))
    assert torch.autograd.gradgradcheck(members, (now.unsqueeze(1),))
    reverse = partial(trajectory_loss, past=past, tau=2.0, reverse=True)
    assert torch.autograd.gradcheck(reverse, (now,))


def test_exact_values():
    assert trajectory_loss(NOW, PAST, 5.0).item() == pytest.approx(0.739550, abs=1e-6)
    assert trajectory_loss(NOW, PAST, 1.0).item() == pytest.approx(0.494057, abs=1e-6)
    reverse = trajectory_loss(NOW, PAST, 5.0, reverse=True)
    assert reverse.item() == pytest.approx(0.750514, abs=1e-6)


def test_high_temperature_gives_half_the_squared_centred_differences():
    gap = NOW - PAST
    limit = (gap - gap.mean(1, keepdim=True)).square().mean() / 2
    assert limit.item() == pytest.approx(0.736111, abs=1e-6)
    assert trajectory_loss(NOW, PAST, 1e4).item() == pytest.approx(limit.item(), rel=1e-4)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), tau=st.floats(0.5, 10), shift=st.floats(-50, 50))
def test_properties(seed, tau, shift):
    now, past = random_pair(seed, 4, 6)
    now.requires_grad_()
    loss = trajectory_loss(now, past, tau)
    (gradient,) = torch.autograd.grad(loss, now)
    q, p = (now / tau).softmax(-1), (past / tau).softmax(-1)
    assert torch.allclose(gradient, tau * (q - p) / 4, atol=1e-12)
    assert loss.item() == pytest.approx(
        tau**2 * (p * (p / q).log()).sum(-1).mean().item(), abs=1e-9
    )
    assert trajectory_loss(now + shift, past - shift, tau).item() == pytest.approx(
        loss.item(), abs=1e-8
    )
    same = member_kl(now.unsqueeze(0), now.detach().unsqueeze(0), None, tau)
    assert same.item() == 0.0 and not torch.autograd.grad(same, now)[0].any()


def test_no_gradient_reaches_the_past_and_nothing_underflows():
    past = torch.tensor([[400.0, 0.0]], requires_grad=True)
    now = torch.tensor([[0.0, 400.0]], requires_grad=True)
    loss = trajectory_loss(now, past, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(400.0)
    assert past.grad is None and now.grad.tolist() == [[-1.0, 1.0]]


def test_masked_samples_count_as_zero_and_give_no_gradient():
    now = NOW.clone().requires_grad_()
    past = PAST.clone()
    past[1] = torch.nan
    loss = trajectory_loss(now, past, 5.0, torch.tensor([True, False]))
    assert loss.item() == pytest.approx(trajectory_loss(NOW[:1], PAST[:1], 5.0).item() / 2)
    (gradient,) = torch.autograd.grad(loss, now)
    assert gradient[1].abs().max() < 1e-12 < gradient[0].abs().min()


def test_tokens_are_averaged_like_samples():
    now, past = random_pair(3, 4, 5, 6)
    flat = trajectory_loss(now.view(20, 6), past.view(20, 6), 2.0)
    assert trajectory_loss(now, past, 2.0).item() == pytest.approx(flat.item())
    valid = torch.arange(4) > 0
    per_token = valid[:, None].expand(4, 5)
    assert trajectory_loss(now, past, 2.0, valid).item() == pytest.approx(
        trajectory_loss(now, past, 2.0, per_token).item()
    )


def test_members_equal_the_losses_one_by_one():
    now, past = random_pair(1, 3, 4, 5)
    valid = torch.tensor([[True] * 4, [True, False] * 2, [False] * 4])
    stacked = member_losses(now, past, valid, lambda a, b: trajectory_kl(a, b, 2.0))
    alone = [trajectory_loss(a, b, 2.0, v) for a, b, v in zip(now, past, valid, strict=True)]
    assert torch.allclose(stacked, torch.stack(alone))
    past = torch.where(valid.unsqueeze(-1), past, torch.nan)
    assert torch.allclose(member_kl(now, past, valid, 2.0), stacked)
    past = torch.nan_to_num(past)
    squared = member_losses(now, past, None, squared_change)
    assert torch.allclose(squared, (now - past).square().mean((1, 2)))


def test_squared_loss_of_a_regression():
    assert squared_trajectory_loss(NOW, PAST).item() == (NOW - PAST).square().mean().item()


@pytest.mark.parametrize(
    ("now", "past", "tau", "message"),
    [
        (NOW, PAST, 0.0, "tau=0.0"),
        (NOW, PAST, -1.0, "tau=-1.0"),
        (NOW, PAST[:1], 1.0, "must be equal"),
        (NOW * torch.nan, PAST, 1.0, "logits has 6 values"),
        (NOW, PAST * torch.inf, 1.0, "past has"),
    ],
)
def test_bad_input(now, past, tau, message):
    with pytest.raises(ValueError, match=message):
        trajectory_loss(now, past, tau)
