"""What an import statement binds, and which modules it runs."""

import ast
from collections.abc import Iterator

Imported = tuple[str, str]  # module, attribute ("" for the module itself)


def imported_names(
    node: ast.Import | ast.ImportFrom, package: str
) -> Iterator[tuple[str, Imported]]:
    """Yield ``(local name, (module, attribute))``, star imports as the name ``*``.

    ``package`` is the package that relative imports start from.
    """
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, (alias.name, "")
            else:
                top = alias.name.partition(".")[0]
                yield top, (top, "")
        return
    module = node.module or ""
    if node.level:
        base = package.split(".")
        base = base[: len(base) - node.level + 1]
        module = ".".join([*base, *([module] if module else [])])
    for alias in node.names:
        yield alias.asname or alias.name, (module, alias.name)


def executed_imports(node: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    """List the modules that a statement may run (``from a import b``: ``a`` and ``a.b``)."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    found = [imported for _, imported in imported_names(node, package)]
    return [module for module, _ in found[:1]] + [f"{m}.{a}" for m, a in found if a != "*"]
