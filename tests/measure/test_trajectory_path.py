from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from overparam.measure import TrajectoryPath
from overparam.models import MLP, seeded
from overparam.training import (
    SAM,
    Callback,
    Ensemble,
    batch_orders,
    cross_entropy,
    fit,
    predict,
    trajectory_loss,
)

N, EPOCHS = 20, 6


class Outputs(Callback):
    def __init__(self, x):
        self.x, self.kept = x, []

    def on_epoch_end(self, fit):
        self.kept.append(predict(fit.ensemble, self.x, shared=True))


@pytest.mark.parametrize("own", [False, True])
def test_the_record_against_the_outputs_of_every_epoch(own):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 4, generator=generator)
    y = torch.randint(3, (N,), generator=generator)
    path = TrajectoryPath(2, 3.0, lambda model, x, y: F.cross_entropy(model(x), y).item(), 4)
    watch = Outputs(x)
    trace = fit(
        Ensemble([seeded(lambda: MLP((4, 8, 3)), s) for s in (5, 6)]),
        x.expand(2, -1, -1) if own else x,
        y.expand(2, -1) if own else y,
        epochs=EPOCHS,
        batch_size=7,
        optimizer=partial(torch.optim.SGD, lr=0.3),
        orders=batch_orders(N, EPOCHS, (5, 6)),
        loss=partial(cross_entropy, smoothing=0.1),
        callbacks=[SAM(rho=0.1), watch, path],
    )
    frame = path.frame((5, 6)).set_index(["seed", "epoch"])
    assert len(frame) == 2 * EPOCHS
    assert (frame["forward"] == 2 * N).all() and (frame["backward"] == 2 * N).all()
    assert trace.cost.forward == 2 * N * EPOCHS  # the recording is not counted
    for i, seed in enumerate((5, 6)):
        losses = [F.cross_entropy(out[i], y, label_smoothing=0.1).item() for out in watch.kept]
        rows = frame.loc[seed]
        np.testing.assert_allclose(rows["train_loss"], losses, rtol=1e-5)
        assert rows["traj_kl"].isna().tolist() == [True] * 2 + [False] * 4
        for t in range(2, EPOCHS):
            change = trajectory_loss(watch.kept[t][i], watch.kept[t - 2][i], 3.0).item()
            assert rows["traj_kl"][t] == pytest.approx(change, rel=1e-4)
            assert rows["drop"][t] == pytest.approx(abs(losses[t - 2] - losses[t]), abs=1e-6)
        measured = rows["lambda_max"]
        assert measured.notna().tolist() == [False, False, False, True, False, True]
        assert measured[5] == pytest.approx(F.cross_entropy(watch.kept[5][i], y).item(), rel=1e-4)


def test_a_diverged_member_is_not_measured_and_a_resumed_record_is_whole():
    class Keep:
        saved = last = None

        def load(self):
            return self.saved

        def save(self, state):
            if state["epoch"] == 2:
                self.last = {
                    k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()
                }

    models = [seeded(lambda: MLP((4, 8, 3)), s) for s in (0, 1)]
    with torch.no_grad():
        next(models[1].parameters()).mul_(torch.nan)
    x = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
    keep, frames = Keep(), []
    for _ in range(2):
        path = TrajectoryPath(1, sharpness=lambda model, x, y: 1.0, every=2)
        fit(
            Ensemble(models),
            x,
            torch.arange(N) % 3,
            epochs=4,
            batch_size=10,
            optimizer=partial(torch.optim.SGD, lr=0.3),
            orders=batch_orders(N, 4, (0, 1)),
            callbacks=[path],
            checkpoint=keep,
        )
        frames.append(path.frame((0, 1)))
        keep.saved = keep.last
    assert frames[0].equals(frames[1])
    assert frames[0].groupby("seed")["lambda_max"].count().to_dict() == {0: 2, 1: 0}


def test_bad_input():
    with pytest.raises(ValueError, match="distance=0"):
        TrajectoryPath(0)
    with pytest.raises(ValueError, match="every=0"):
        TrajectoryPath(every=0)
    with pytest.raises(ValueError, match="one per member"):
        TrajectoryPath().frame((0,))
