"""Methods, told by their names, that only read a container, and those that change it."""

READING_METHODS = frozenset({
    "copy", "count", "endswith", "format", "get", "index", "items", "join", "keys", "lower",
    "replace", "split", "startswith", "strip", "upper", "values",
})  # fmt: skip

_CHANGING_METHODS = frozenset({
    "__delitem__", "__setattr__", "__setitem__", "add", "append", "appendleft", "clear", "connect",
    "difference_update", "discard", "extend", "extendleft", "insert", "intersection_update",
    "move_to_end", "pop", "popitem", "popleft", "put", "register", "remove", "reverse",
    "setdefault", "sort", "subtract", "symmetric_difference_update", "update",
})  # fmt: skip


def changes_container(method: str) -> bool:
    """Tell whether a method of this name changes a list, dict, set, deque or tensor."""
    return method in _CHANGING_METHODS or (method.endswith("_") and not method.endswith("__"))
