import pytest
import torch
from torch import nn

from overparam.compress import load_table, rps_mapping, share_parameters, sharing_report


@pytest.mark.parametrize("cache_index", [True, False])
def test_report_counts_what_there_is(cache_index):
    model = nn.Sequential(nn.Linear(9, 7), nn.BatchNorm1d(7), nn.Linear(7, 4))
    report = sharing_report(
        share_parameters(model, 3, seed=2, mapping="hashed", cache_index=cache_index)
    )
    loads = rps_mapping("hashed", 91, 30, 2).bincount(minlength=30)
    assert (report.virtual, report.real, report.unshared) == (91, 30, 7 + 14 + 4)
    assert report.compression == pytest.approx(91 / 30)
    assert torch.equal(report.loads, loads) and torch.equal(report.histogram, loads.bincount())
    assert report.empty_fraction == pytest.approx(float((loads == 0).sum()) / 30)
    assert report.max_load == int(loads.max())
    assert report.index_bits == 0 and report.description_bits == 6 * 64 + 2 * 32


def test_only_shared_models_have_one():
    with pytest.raises(TypeError, match="Linear"):
        sharing_report(nn.Linear(2, 2))


def test_table_counts_buckets_by_load():
    models = [share_parameters(nn.Linear(9, 7), 3, seed=s, mapping="hashed") for s in (2, 5)]
    table = load_table(models, (2, 5))
    assert table.columns.tolist() == ["load", "buckets", "seed"]
    for seed, rows in table.groupby("seed"):
        loads = rps_mapping("hashed", 63, 21, seed).bincount(minlength=21).tolist()
        assert dict(zip(rows["load"], rows["buckets"], strict=True)) == {
            load: loads.count(load) for load in set(loads)
        }
        assert rows["buckets"].is_monotonic_decreasing


def test_a_table_needs_a_seed_per_model():
    model = share_parameters(nn.Linear(9, 7), 3, seed=2)
    for models, seeds in (([model], ()), ([], ())):
        with pytest.raises(ValueError, match=f"models has {len(models)} entries, seeds 0"):
            load_table(models, seeds)
