"""What a training's path looks like from epoch to epoch: loss, trajectory loss, drop, sharpness."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from overparam.training import Callback, Fit, predict
from overparam.training.checkpoint import State
from overparam.training.trajectory_loss import trajectory_kl

Sharpness = Callable[[nn.Module, Tensor, Tensor], float]
COLUMNS = ("train_loss", "traj_kl", "drop", "forward", "backward", "lambda_max")


class TrajectoryPath(Callback):
    r"""Records, at the end of every epoch t, on the whole training set in eval mode:

    - ``train_loss``: L(t), the training's own loss;
    - ``traj_kl``: :math:`\tau^2` KL of the outputs of epoch t - E against those of t, mean;
    - ``drop``: :math:`|L(t-E) - L(t)|`;
    - ``forward``, ``backward``: sample-passes of this epoch (the recording's own do not count);
    - ``lambda_max``: a measure of the plain members, every ``every`` epochs and in the last one.

    ``traj_kl`` and ``drop`` are NaN in the first E epochs, ``lambda_max`` where it is not measured
    or the member has diverged.

    Args:
        distance: E >= 1.
        tau: temperature.
        sharpness: model, x and y of a member to a number, e.g. the largest Hessian eigenvalue.
        every: epochs between two such measurements.

    Raises:
        ValueError: distance or every below 1.
    """

    def __init__(
        self,
        distance: int = 3,
        tau: float = 5.0,
        sharpness: Sharpness | None = None,
        every: int = 10,
    ) -> None:
        if distance < 1 or every < 1:
            raise ValueError(f"distance={distance}, every={every}; allowed >= 1")
        self.distance, self.tau, self.sharpness, self.every = distance, tau, sharpness, every
        self._past: deque[tuple[Tensor, Tensor]] = deque(maxlen=distance)
        self._rows: list[Tensor] = []
        self._passes = (0, 0)

    def on_epoch_start(self, fit: Fit) -> None:
        """Forget an earlier training; note the passes so far."""
        if fit.step == 0:
            self._past.clear()
            self._rows = []
        self._passes = (fit.cost.forward, fit.cost.backward)

    @torch.no_grad()
    def on_epoch_end(self, fit: Fit) -> None:
        """Record the epoch."""
        data, size = fit.data, fit.ensemble.size
        logits = predict(fit.ensemble, data.x, shared=not data.x_own)
        targets = data.y if data.y_own else data.y.expand(size, *data.y.shape)
        losses = fit.loss(logits, targets).double()
        change = drop = torch.full_like(losses, torch.nan)
        if len(self._past) == self.distance:
            then, loss_then = self._past[0]
            change = trajectory_kl(logits, then, self.tau).flatten(1).mean(1).double()
            drop = (loss_then - losses).abs()
        self._past.append((logits, losses))
        passes = (fit.cost.forward - self._passes[0], fit.cost.backward - self._passes[1])
        counts = [torch.full_like(losses, float(count)) for count in passes]
        self._rows.append(torch.stack([losses, change, drop, *counts, self._measured(fit)]))

    def frame(self, seeds: Sequence[int]) -> pd.DataFrame:
        """A row per member and epoch: seed, epoch and the recorded columns.

        Args:
            seeds: of the members.

        Raises:
            ValueError: not one seed per member, or nothing was recorded.
        """
        if not self._rows or len(seeds) != self._rows[0].shape[1]:
            raise ValueError(f"seeds={tuple(seeds)}; allowed: one per member, after a training")
        parts = [
            pd.DataFrame(row.cpu().numpy().T, columns=list(COLUMNS)).assign(seed=seeds, epoch=epoch)
            for epoch, row in enumerate(self._rows)
        ]
        frame = pd.concat(parts, ignore_index=True)
        return frame.astype({"forward": int, "backward": int})[["seed", "epoch", *COLUMNS]]

    def state(self) -> State:
        """What was recorded, and the outputs still needed."""
        kept: State = {"rows": torch.stack(self._rows)} if self._rows else {}
        for i, (logits, losses) in enumerate(self._past):
            kept |= {f"logits.{i}": logits, f"losses.{i}": losses}
        return kept

    def load_state(self, state: Mapping[str, Tensor | int]) -> None:
        """Put back what :meth:`state` gave."""
        tensors = {name: t.clone() for name, t in state.items() if isinstance(t, Tensor)}
        self._rows = list(tensors["rows"]) if "rows" in tensors else []
        self._past.clear()
        for i in range(self.distance):
            if f"logits.{i}" in tensors:
                self._past.append((tensors[f"logits.{i}"], tensors[f"losses.{i}"]))

    def _measured(self, fit: Fit) -> Tensor:
        values = torch.full((fit.ensemble.size,), torch.nan, dtype=torch.float64)
        due = (fit.epoch + 1) % self.every == 0 or fit.epoch + 1 == fit.epochs
        if self.sharpness is None or not due:
            return values.to(fit.diverged.device)
        data = fit.data
        for i, member in enumerate(fit.ensemble.members()):
            if not bool(fit.diverged[i]):
                x = data.x[i] if data.x_own else data.x
                y = data.y[i] if data.y_own else data.y
                with torch.enable_grad():
                    values[i] = self.sharpness(member, x, y)
        return values.to(fit.diverged.device)
