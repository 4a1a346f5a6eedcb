import torch

from overparam.training import Callback, state_bytes


class Keeps(Callback):
    def state(self):
        return {"step": 3, "table": torch.zeros(5, 2), "seen": torch.zeros(7, dtype=torch.bool)}


def test_tensors_count_by_their_type_and_numbers_do_not():
    assert state_bytes(Keeps()) == 5 * 2 * 4 + 7
    assert state_bytes(Callback()) == 0
