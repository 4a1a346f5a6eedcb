"""Compressors beside the libraries that users would call otherwise; ratios within one run."""

import copy
import time
import warnings
from statistics import median

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn.utils import prune

from overparam.compress import apply_masks, global_mask, score_mag
from overparam.compress.gptq import gptq_round
from overparam.compress.registry import LeftAlone
from overparam.compress.structured import prune_structured

pytestmark = pytest.mark.benchmark(group="compress")
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
PLANES = ((3, 64), (64, 128), (128, 128), (128, 256))


def seconds(ours, theirs, rounds=7):
    """Processor time of both, taken in turns."""
    times = [[], []]
    for _ in range(rounds):
        for call, record in zip((ours, theirs), times, strict=True):
            start = time.process_time()
            call()
            record.append(time.process_time() - start)
    return [median(record) for record in times]


def convolutions():
    torch.manual_seed(0)
    layers = []
    for c_in, c_out in PLANES:
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10)).eval()


def test_channels_beside_torch_pruning(benchmark):
    """Ours finds the share that the budget asks for and runs every group with zeros and without:
    a dozen forward passes and copies, which a bare step of the pruner does not make."""

    def ours():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeftAlone)
            return prune_structured(convolutions(), IMAGES, ratio=4)

    def theirs():
        model = convolutions().requires_grad_(True)
        tp.pruner.BasePruner(
            model,
            IMAGES,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            global_pruning=True,
            pruning_ratio=0.5,
            ignored_layers=[model[-1]],
        ).step()
        return model

    found = benchmark.pedantic(ours, rounds=3)
    assert found.parameters <= found.dense_parameters / 4
    mine, bare = seconds(ours, theirs)
    benchmark.extra_info["times torch-pruning"] = round(mine / bare, 2)
    assert mine < 20 * bare


def test_masks_beside_torch_prune(benchmark):
    """The same 10 % of 6.3 million weights."""
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(6)])

    def ours():
        return apply_masks(model, global_mask(score_mag(model), 0.1))

    def theirs():
        copied = copy.deepcopy(model)
        weights = [(layer, "weight") for layer in copied]
        prune.global_unstructured(weights, prune.L1Unstructured, amount=0.9)
        return copied

    pairs = zip(benchmark.pedantic(ours, rounds=3), theirs(), strict=True)
    assert all(torch.equal(mine.weight, other.weight) for mine, other in pairs)
    mine, other = seconds(ours, theirs, rounds=3)
    benchmark.extra_info["of torch.nn.utils.prune"] = round(mine / other, 2)
    assert mine < other


def test_blocks_of_gptq(benchmark):
    """Updates of later columns once per block, not once per column: the same codes, sooner."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(512, 1024, generator=generator)
    inputs = torch.randn(1024, 2048, generator=generator, dtype=torch.float64)
    hessian = 2 * inputs @ inputs.T

    def blocks():
        return gptq_round(weight, hessian, 4)

    def columns():
        return gptq_round(weight, hessian, 4, block=1024)

    assert torch.equal(benchmark.pedantic(blocks, rounds=2).codes, columns().codes)
    blocked, plain = seconds(blocks, columns, rounds=3)
    benchmark.extra_info["of one column at a time"] = round(blocked / plain, 2)
    assert blocked < 0.8 * plain
