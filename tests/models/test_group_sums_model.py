"""The toy model's sums."""

import pytest
import torch

from overparam.models.group_sums import GroupSums


def test_sums() -> None:
    model = GroupSums(6, 3)
    assert model().tolist() == [0.0, 0.0, 0.0]
    model.theta.data = torch.arange(6.0, dtype=torch.float64)
    assert model().tolist() == [1.0, 5.0, 9.0]
    assert GroupSums().theta.shape == (1000,)
    assert GroupSums().theta.dtype == torch.float64


@pytest.mark.parametrize(("size", "groups"), [(10, 3), (10, 0), (0, 1)])
def test_groups_divide_the_size(size: int, groups: int) -> None:
    with pytest.raises(ValueError, match=f"divisor of size = {size}, got {groups}"):
        GroupSums(size, groups)
