"""What pairs cost while training and, once merged, at inference."""

import pytest
import torch
from torch import nn

from overparam.adapt import full_tuning, inject_ssf, merge_ssf, replace_head
from overparam.measure import latency_ratio
from overparam.models import TinyViT, seeded
from overparam.training import Ensemble

VIT = {"dim": 96, "depth": 4, "heads": 4}


def test_merged_model_is_as_fast_as_the_base():
    base = seeded(lambda: TinyViT(**VIT), 0).eval()
    merged = merge_ssf(inject_ssf(seeded(lambda: TinyViT(**VIT), 0))).eval()
    x = torch.randn(32, 1, 8, 8)
    assert latency_ratio(merged, base, x, pairs=40, calls=2).ratio < 1.05


def test_frozen_weights_save_their_gradients():
    """A training step with pairs costs little more than one of all weights, with no pairs."""
    x, y = torch.randn(64, 1, 8, 8), torch.arange(64) % 10

    def step(model):
        def run(x):
            with torch.inference_mode(False), torch.enable_grad():
                nn.functional.cross_entropy(model(x.clone()), y).backward()

        return run

    full = step(full_tuning(seeded(lambda: TinyViT(**VIT), 0)))
    ssf = step(inject_ssf(seeded(lambda: TinyViT(**VIT), 0)))
    assert latency_ratio(ssf, full, x, pairs=20).ratio < 1.5


@pytest.mark.parametrize("members", [6])
def test_learning_rates_and_seeds_train_as_one_program(members):
    def make(seed):
        return inject_ssf(replace_head(seeded(TinyViT, 0), 10, seed=seed), seed=seed)

    models = [make(seed) for seed in range(members)]
    ensemble = Ensemble(models)
    x, y = torch.randn(16, 1, 8, 8), torch.arange(16) % 10

    def together(x):
        with torch.inference_mode(False), torch.enable_grad():
            logits = ensemble(x.clone(), shared=True).flatten(0, 1)
            nn.functional.cross_entropy(logits, y.repeat(members)).backward()

    def one_by_one(x):
        with torch.inference_mode(False), torch.enable_grad():
            for model in models:
                nn.functional.cross_entropy(model(x.clone()), y).backward()

    assert latency_ratio(together, one_by_one, x, pairs=15).ratio < 0.9
