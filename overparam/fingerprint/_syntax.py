"""The canonical text of a piece of code: what is hashed when a definition counts."""

import ast
import hashlib

_Statement = (ast.stmt, ast.ExceptHandler, ast.match_case)


class _Canonical(ast.NodeTransformer):
    """Drop what has no effect, spell out what Python versions print differently.

    ``ast.unparse`` prints one text for one tree in every version, f-strings apart (how their quotes
    nest changed in 3.12): these become an ordinary call that holds the same parts.
    """

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, _Statement) and getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[union-attr]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        # docstrings, strings under a field, a lone `...`
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        node.kind = None
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        # 3.12.0 leaves empty pieces of text in format specifications
        values = [v for v in node.values if not (isinstance(v, ast.Constant) and v.value == "")]
        parts = [self.visit(value) for value in values]
        return ast.Call(ast.Name("fstring", ast.Load()), parts, [])

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        spec = self.visit(node.format_spec) if node.format_spec else ast.Constant(None)
        parts = [self.visit(node.value), ast.Constant(node.conversion), spec]
        return ast.Tuple(parts, ast.Load())


def canonicalise(tree: ast.Module) -> None:
    """Rewrite ``tree`` in place, so that :func:`text_hash` ignores docstrings and layout."""
    _Canonical().visit(tree)


def text_hash(*nodes: ast.AST) -> str:
    """Hash the printed form of canonicalised nodes (64 hex digits)."""
    text = "\n".join(ast.unparse(ast.fix_missing_locations(node)) for node in nodes)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
