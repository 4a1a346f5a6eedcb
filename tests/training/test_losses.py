import pytest
import torch
import torch.nn.functional as F

from overparam.training import cross_entropy, mse


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("shape", [(3, 5), (2, 4, 6)])
def test_cross_entropy_equals_torch_member_by_member(shape, smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*shape, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randint(7, shape, generator=generator)
    losses = cross_entropy(logits, y, smoothing)
    expected = torch.stack(
        [
            F.cross_entropy(f.reshape(-1, 7), t.reshape(-1), label_smoothing=smoothing)
            for f, t in zip(logits, y, strict=True)
        ]
    )
    torch.testing.assert_close(losses, expected, rtol=1e-13, atol=1e-13)
    (grad,) = torch.autograd.grad(losses.sum(), logits)
    (grad_expected,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(grad, grad_expected, rtol=1e-12, atol=1e-14)


def test_cross_entropy_survives_large_logits():
    logits = torch.tensor([[[1e4, 0.0]], [[0.0, 1e4]]])
    assert cross_entropy(logits, torch.zeros(2, 1, dtype=torch.long)).tolist() == [0.0, 1e4]


def test_mse_by_hand():
    assert mse(torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]]), torch.ones(2, 1, 2)).tolist() == [2, 1]


def test_bad_input():
    with pytest.raises(ValueError, match=r"smoothing is 1.0; allowed 0 <= smoothing < 1"):
        cross_entropy(torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.long), 1.0)
    with pytest.raises(ValueError, match=r"expected \(E, B, ..., C\)"):
        cross_entropy(torch.zeros(1, 2, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="must be equal"):
        mse(torch.zeros(1, 2, 1), torch.zeros(1, 2))
