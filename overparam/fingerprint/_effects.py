"""What a statement does, when its module is imported, to objects that others may hold."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from overparam.fingerprint._methods import READING_METHODS
from overparam.fingerprint._references import References, stem


@dataclass(slots=True)
class Effect:
    """Something that happens at import.

    ``kind`` is ``mutate`` (``T["x"] = 1``), ``call`` (a bare ``f(x)``: it is there for its
    effect), ``value`` (``y = f(x)``: it may have one) or ``decorator``. ``references`` are what
    is changed or called, none for an expression that starts from no name; ``after_call`` says
    that a method of a call's result is called: ``registry().add``; ``arguments`` are the globals
    handed in.
    """

    kind: str
    references: list[str]
    after_call: bool = False
    arguments: list[str] = field(default_factory=list)


def expression_effects(kind: str, node: ast.expr, package: str) -> list[Effect]:
    """Describe the call (or the decorator) ``node``; nothing for a method that only reads."""
    references = References(package)
    outermost = node.func if isinstance(node, ast.Call) else node
    if isinstance(outermost, ast.Attribute) and outermost.attr in READING_METHODS:
        return []
    peeled = stem(node)
    arguments = References(package)
    inner: ast.expr = node
    while not isinstance(inner, ast.Name):
        if isinstance(inner, ast.Call):
            for argument in [
                *inner.args,
                *(keyword.value for keyword in inner.keywords),
            ]:
                arguments.visit(argument)
            inner = inner.func
        elif isinstance(inner, ast.Attribute | ast.Subscript):
            inner = inner.value
        else:
            break
    return [
        Effect(
            kind,
            references.stems(node),
            peeled is not None and peeled[2],
            list(arguments.code),
        )
    ]


def statement_effects(node: ast.stmt, package: str) -> Iterator[Effect]:
    """Yield what a module-level statement does, in source order, inside of blocks too."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for decorator in node.decorator_list:
            yield from expression_effects("decorator", decorator, package)
        return
    if isinstance(node, ast.Expr):
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call):
            yield from expression_effects("call", value, package)
        else:
            yield from _calls(value, package)
        return
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        yield Effect("mutate", [node.target.id])  # `+=` extends an imported list in place
    targets = _targets(node)
    for target in targets:
        for inner in ast.walk(target):
            if isinstance(inner, ast.Attribute | ast.Subscript) and not isinstance(
                inner.ctx, ast.Load
            ):
                yield Effect("mutate", References(package).stems(inner))
    for child in ast.iter_child_nodes(node):
        if child in targets:
            continue
        if isinstance(child, ast.expr):
            yield from _calls(child, package)
        elif isinstance(child, ast.stmt):
            yield from statement_effects(child, package)
        elif isinstance(child, ast.withitem):
            yield from _calls(child.context_expr, package)
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            for inner_statement in child.body:
                yield from statement_effects(inner_statement, package)


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    if isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For | ast.AsyncFor):
        return [node.target]
    return []


def _calls(node: ast.expr, package: str) -> Iterator[Effect]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            yield from expression_effects("value", inner, package)
