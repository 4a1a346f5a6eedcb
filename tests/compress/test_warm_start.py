import pytest
import torch
from torch import nn

from overparam.compress import materialise, share_parameters, warm_start


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Linear(9, 4)).double()


@pytest.mark.parametrize("mapping", ["randomfold", "hashed"])
def test_projection_is_the_least_squares_solution(mapping):
    shared, dense = share_parameters(net(0), 4, seed=1, mapping=mapping), net(3)
    started = warm_start(shared, dense)
    p = torch.zeros(shared.layout.n, shared.layout.m, dtype=torch.float64)
    p[torch.arange(shared.layout.n), shared.index.long()] = shared.scale
    w = torch.cat([dense[0].weight.flatten(), dense[2].weight.flatten()])
    used = p.any(0)
    solution = torch.linalg.lstsq(p[:, used], w).solution
    assert torch.allclose(started.shared[used], solution, rtol=1e-9)
    assert torch.equal(started.shared[~used], shared.shared[~used])
    assert torch.equal(started.skeleton[0].bias, dense[0].bias)
    assert torch.equal(started.skeleton[1].running_var, dense[1].running_var)
    assert not torch.equal(shared.skeleton[0].bias, dense[0].bias)


def test_at_1x_nothing_is_lost():
    dense = net(3)
    started = materialise(warm_start(share_parameters(net(0), 1, seed=1), dense))
    for name, tensor in started.state_dict().items():
        assert torch.allclose(tensor, dense.state_dict()[name], rtol=1e-12)


def test_other_architectures_are_refused():
    shared = share_parameters(net(0), 4, seed=1)
    with pytest.raises(ValueError, match=r"'2\.weight'.*\(4, 9\)"):
        warm_start(shared, nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Linear(9, 5)))
    with pytest.raises(ValueError, match=r"'1\.bias' is missing in dense"):
        warm_start(shared, nn.Sequential(nn.Linear(6, 9), nn.Identity(), nn.Linear(9, 4)))
    with pytest.raises(ValueError, match=r"'3\.bias' is only in dense"):
        warm_start(shared, nn.Sequential(*net(0), nn.Linear(4, 4)))
