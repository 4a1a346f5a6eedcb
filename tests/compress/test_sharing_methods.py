import pytest
import torch
from torch import nn

from overparam.compress import SHARING, at_equal_memory, share_members, share_parameters
from overparam.compress.sharing_methods import roast_tile
from overparam.models import MLP, seeded


def nets():
    return [seeded(lambda: MLP((16, 40, 4)), seed) for seed in (3, 4)]


@pytest.mark.parametrize("method", SHARING)
def test_a_name_stands_for_options_of_share_parameters(method):
    tile = (4, 4) if "roast" in method else None
    shared = share_members(method, nets(), 5, seeds=(3, 4), init_scale=0.3, tile=tile)
    for net, seed, model in zip(nets(), (3, 4), shared, strict=True):
        alone = share_parameters(net, 5, seed=seed, init_scale=0.3, tile=tile, **SHARING[method])
        ours, theirs = model.state_dict(), alone.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert model.layout == alone.layout and model.grad_scale_mode == alone.grad_scale_mode
        trainable = {name for name, p in model.named_parameters() if p.requires_grad}
        biases = {name for name, _ in alone.named_parameters()} - {"shared"}
        assert trainable == (biases if method == "rps_frozen" else biases | {"shared"})


def test_the_largest_tile_that_fits():
    for memory in range(1, 1100):
        sizes = [2**k for k in range(6) if 4**k <= memory]
        assert roast_tile(memory) == (max(sizes), max(sizes))


@pytest.mark.parametrize("compression", [1, 30, 300])
def test_roast_at_equal_memory_is_cut_in_square_tiles_that_fit(compression):
    x, y = torch.zeros(2, 4, 16), torch.zeros(2, 4, dtype=torch.long)
    options = {"x": x, "y": y, "seeds": (3, 4), "narrower": nn.Linear}
    models = at_equal_memory("roast", nets(), compression, **options)
    tile = roast_tile(800 // compression)
    alone = share_members("roast", nets(), compression, seeds=(3, 4), tile=tile)
    assert all(
        a.layout == b.layout and torch.equal(a.shared, b.shared)
        for a, b in zip(models, alone, strict=True)
    )


def test_bad_input():
    with pytest.raises(ValueError, match=r"'folded'; allowed rps_stable, roast"):
        share_members("folded", nets(), 2, seeds=(3, 4))
    with pytest.raises(ValueError, match="seeds has 1 entries for 2 members"):
        share_members("hashed", nets(), 2, seeds=(3,))
    with pytest.raises(ValueError, match=r"compression is 0\.5"):
        share_members("hashed", nets(), 0.5, seeds=(3, 4))
    with pytest.raises(ValueError, match="has no tiles"):
        share_members("hashed", nets(), 2, seeds=(3, 4), tile=4)
