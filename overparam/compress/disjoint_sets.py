"""Disjoint sets that grow together (union-find)."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class DisjointSets(Generic[Item]):
    """Sets of items, each of its own at first.

    Example:
        >>> sets = DisjointSets("abcd")
        >>> sets.join("ad")
        >>> sets.sets()
        [['a', 'd'], ['b'], ['c']]
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._parent = {item: item for item in items}

    def _top(self, item: Item) -> Item:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, items: Iterable[Item]) -> None:
        """Unite the sets of ``items``."""
        tops = [self._top(item) for item in items]
        for top in tops[1:]:
            self._parent[self._top(top)] = self._top(tops[0])

    def sets(self) -> list[list[Item]]:
        """All sets, their items and themselves in the order of the items at first."""
        found: dict[Item, list[Item]] = {}
        for item in self._parent:
            found.setdefault(self._top(item), []).append(item)
        return list(found.values())
