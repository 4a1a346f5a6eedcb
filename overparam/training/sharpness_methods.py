"""SGD, SAM, SAF, MESA, their controls and ablations, by name."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from overparam.training.mesa import MESA
from overparam.training.recomputed_saf import RecomputedSAF
from overparam.training.running import Callback
from overparam.training.saf import SAF
from overparam.training.sam import SAM

NUMBER = r"([0-9]+\.?[0-9]*|\.[0-9]+)"
SHARPNESS_METHOD = (
    rf"^(sgd(_[1-9]x)?|saf_E0|(sam|mesa|saf(_recomputed|_shuffled|_reversed)?)_{NUMBER})$"
)


@dataclass(frozen=True)
class SharpnessMethod:
    """A training that a study of sharpness compares, as its name says it.

    ======================  ========================================================================
    ``sgd``, ``sgd_2x``     the optimiser alone; twice the epochs
    ``sam_RHO``             :class:`SAM`, radius rho
    ``saf_LAMBDA``          :class:`SAF`, coefficient lambda
    ``mesa_LAMBDA``         :class:`MESA`, without warm-up of its average
    ``saf_E0``              control: SAF with the present outputs as past, whose loss is zero
    ``saf_recomputed_...``  control: :class:`RecomputedSAF`, past outputs by a second forward pass
    ``saf_shuffled_...``    ablation: the past outputs of another random sample
    ``saf_reversed_...``    ablation: KL(current || past)
    ======================  ========================================================================

    Attributes:
        family: the name without its number: sgd, sam, saf, mesa, saf_E0, saf_recomputed, ...
        value: rho of SAM, lambda of SAF and MESA (1 for saf_E0), a multiple of the epochs for SGD.
    """

    family: str
    value: float = 1.0

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a name.

        Raises:
            ValueError: a name that `SHARPNESS_METHOD` does not match.

        Example:
            >>> SharpnessMethod.parse("saf_shuffled_0.3")
            SharpnessMethod(family='saf_shuffled', value=0.3)
        """
        if not re.match(SHARPNESS_METHOD, name):
            raise ValueError(
                f"method {name!r}; allowed: sgd, sgd_2x, sam_RHO, saf_LAMBDA, mesa_LAMBDA, saf_E0, "
                "saf_recomputed_LAMBDA, saf_shuffled_LAMBDA, saf_reversed_LAMBDA"
            )
        found = re.fullmatch(rf"(.+)_{NUMBER}x?", name)
        return cls(found[1], float(found[2])) if found else cls(name)

    @property
    def lam(self) -> float:
        """Coefficient of the trajectory loss; NaN where there is none."""
        return self.value if self.family.startswith(("saf", "mesa")) else math.nan

    @property
    def rho(self) -> float:
        """Radius of SAM; NaN where there is none."""
        return self.value if self.family == "sam" else math.nan

    def epochs(self, epochs: int) -> int:
        """Epochs to train, where other methods take ``epochs``."""
        return epochs * int(self.value) if self.family == "sgd" else epochs

    def callback(
        self, *, tau: float = 5.0, distance: int = 3, start: int = 5, beta: float = 0.995
    ) -> Callback:
        """What the method does during a training in the common loop.

        Args:
            tau: temperature.
            distance: E, epochs back.
            start: E_s, the trajectory loss counts from the epoch after it on.
            beta: decay of MESA's average.

        Raises:
            ValueError: an argument that the method refuses.
        """
        recorded: Mapping[str, Any] = {"lam": self.value, "tau": tau, "start": start}
        saf = partial(SAF, **recorded, distance=distance)
        makers: Mapping[str, Callable[[], Callback]] = {
            "sgd": Callback,
            "sam": partial(SAM, rho=self.value),
            "saf": saf,
            "mesa": partial(MESA, **recorded, beta=beta, warm_up=False),
            "saf_E0": partial(saf, reference="present"),
            "saf_shuffled": partial(saf, reference="another"),
            "saf_reversed": partial(saf, reverse=True),
            "saf_recomputed": partial(RecomputedSAF, **recorded, distance=distance),
        }
        return makers[self.family]()
