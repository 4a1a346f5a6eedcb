"""SAF with the past outputs computed again: the same loss at the price of a forward pass."""

from collections import deque
from collections.abc import Mapping

from torch import Tensor

from overparam.training.checkpoint import State, part
from overparam.training.mesa import Teacher
from overparam.training.running import Fit
from overparam.training.saf import SAF
from overparam.training.trajectory_loss import Kind
from overparam.training.trajectory_term import Coefficient


class RecomputedSAF(Teacher):
    """What SAF's table saves: outputs of the weights at the end of epoch e - E, computed anew.

    Keeps E + 1 copies of the weights and no outputs, so that memory does not grow with the number
    of samples; every step costs a second forward pass. Arguments as for :class:`SAF`.
    """

    def __init__(
        self,
        *,
        lam: Coefficient = 0.3,
        tau: float = 5.0,
        distance: int = 3,
        start: int = 5,
        end: int | None = None,
        kind: Kind = "kl",
    ) -> None:
        # The rules for distance and start are those of SAF.
        SAF(lam=lam, tau=tau, distance=distance, start=start, end=end, kind=kind)
        super().__init__(lam, tau, start, end, kind)
        self.past: deque[dict[str, Tensor]] = deque(maxlen=distance)

    def weights(self, fit: Fit) -> dict[str, Tensor] | None:
        """The weights E epochs ago."""
        return self.past[0] if len(self.past) == self.past.maxlen else None

    def on_epoch_start(self, fit: Fit) -> None:
        """Forget an earlier training."""
        if fit.step == 0:
            self.past.clear()

    def on_epoch_end(self, fit: Fit) -> None:
        """Keep the weights."""
        self.past.append(fit.ensemble.snapshot())

    def state(self) -> State:
        """The kept weights, oldest first."""
        return {f"{i}.{name}": t for i, kept in enumerate(self.past) for name, t in kept.items()}

    def load_state(self, state: Mapping[str, Tensor | int]) -> None:
        """Put back what :meth:`state` gave."""
        self.past.clear()
        for i in range(self.past.maxlen or 0):
            kept = {k: t.clone() for k, t in part(state, f"{i}.").items() if isinstance(t, Tensor)}
            if kept:
                self.past.append(kept)
