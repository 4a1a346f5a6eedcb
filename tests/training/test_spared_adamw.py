"""Weight decay that spares vectors."""

import pytest
import torch
from torch import nn

from overparam.training import spared_adamw


def test_weight_decay_spares_vectors():
    matrix, vector = (nn.Parameter(torch.ones(2, *shape)) for shape in ((3, 4), (3,)))
    descent = spared_adamw([matrix, vector], lr=0.1, weight_decay=0.5)
    matrix.grad, vector.grad = torch.zeros_like(matrix), torch.zeros_like(vector)
    descent.step()
    torch.testing.assert_close(matrix.detach(), torch.full((2, 3, 4), 0.95))
    assert torch.equal(vector.detach(), torch.ones(2, 3))


def test_a_model_of_vectors_or_of_matrices_alone_has_one_group():
    for shape, decay in (((2, 3, 4), 0.5), ((2, 3), 0.0)):
        (group,) = spared_adamw([nn.Parameter(torch.ones(shape))], 0.1, 0.5).param_groups
        assert group["weight_decay"] == decay and group["lr"] == 0.1


def test_no_parameters_are_refused():
    with pytest.raises(ValueError, match="empty parameter list"):
        spared_adamw([], 0.1, 0.5)
