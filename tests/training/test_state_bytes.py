import pytest
import torch

from overparam.models import MLP
from overparam.training import MESA, SAF, Callback, state_bytes, state_bytes_after


class Keeps(Callback):
    def state(self):
        return {"step": 3, "table": torch.zeros(5, 2), "seen": torch.zeros(7, dtype=torch.bool)}


def test_tensors_count_by_their_type_and_numbers_do_not():
    assert state_bytes(Keeps()) == 5 * 2 * 4 + 7
    assert state_bytes(Callback()) == 0


@pytest.mark.parametrize("samples", [64, 100])
def test_tables_grow_with_the_samples_and_averages_do_not(samples):
    table = state_bytes_after(SAF(distance=2), samples, features=5, classes=3)
    # Three slots of three logits and the epoch in which they were written, four bytes each.
    assert table == 3 * samples * (3 + 1) * 4
    weights = sum(p.numel() for p in MLP((5, 16, 3)).parameters())
    assert state_bytes_after(MESA(), samples, features=5, classes=3) == 4 * weights
    assert state_bytes_after(Callback(), samples) == 0


def test_something_is_needed_to_train_on():
    with pytest.raises(ValueError, match="samples=0"):
        state_bytes_after(SAF(), 0)
