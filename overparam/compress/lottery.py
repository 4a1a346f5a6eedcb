"""Lottery tickets with rewinding (Frankle et al., *Linear mode connectivity*, ICML 2020)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from overparam.compress.masks import Masks, apply_masks, global_mask, resolve_count
from overparam.compress.scores.magnitude import score_mag
from overparam.compress.weights import count_weights


@dataclass(frozen=True)
class LotteryTicket:
    """A network found by pruning and rewinding.

    Attributes:
        ticket: the early weights under the final masks, untrained since.
        trained: the ticket after its last, full training.
        masks: the final masks by weight name.
        kept: number of weights left after each pruning round.
    """

    ticket: nn.Module
    trained: nn.Module
    masks: Masks
    kept: tuple[int, ...]


def lottery_rewind(
    early: Sequence[nn.Module],
    train: Callable[[list[nn.Module], int], Sequence[nn.Module]],
    keep: float | None = None,
    *,
    count: int | None = None,
    rounds: int,
) -> list[LotteryTicket]:
    """Train, prune the smallest weights of all layers together, rewind to ``early``, repeat.

    Round r leaves keep^(r/rounds) of the weights (equal ratios). Rewinding restores every tensor of
    the early checkpoint, biases and running statistics included. After the last pruning the tickets
    are trained once more, in full. Several members (seeds) go through the rounds side by side, so
    that ``train`` can train them as one ensemble; each is pruned by its own weights alone.

    Args:
        early: the networks at the rewind point, e.g. after the first epochs; not changed.
        train: (models, round) -> trained models; rounds 0..rounds-1 precede a pruning, round
            ``rounds`` is the full training of the tickets. It gets copies and may train them in
            place.
        keep: fraction of weights kept in the end, in (0, 1], or
        count: their number.
        rounds: number of pruning rounds >= 1.

    Returns:
        A ticket per network.

    Raises:
        ValueError: no network, rounds < 1, ``keep`` or ``count`` out of range, NaN weights after a
            training.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; allowed >= 1")
    if not early:
        raise ValueError("early is empty; give at least one network")
    n = count_weights(early[0])
    final = resolve_count(n, keep, count)
    kept = [max(final, round(n * (final / n) ** ((r + 1) / rounds))) for r in range(rounds - 1)]
    kept.append(final)
    tickets = [apply_masks(net, {}) for net in early]
    masks: list[Masks] = [{} for _ in early]
    for r, left in enumerate(kept):
        trained = train(tickets, r)
        masks = [_pruned(net, own, left) for net, own in zip(trained, masks, strict=True)]
        tickets = [apply_masks(net, own) for net, own in zip(early, masks, strict=True)]
    trained = train([apply_masks(ticket, {}) for ticket in tickets], rounds)
    return [
        LotteryTicket(*parts, tuple(kept)) for parts in zip(tickets, trained, masks, strict=True)
    ]


def _pruned(net: nn.Module, masks: Masks, left: int) -> Masks:
    # A masked weight scores 0 and could tie with a live one; -1 keeps it out.
    scores = {
        name: score.where(masks[name], -1.0) if masks else score
        for name, score in score_mag(net).items()
    }
    return global_mask(scores, count=left)
