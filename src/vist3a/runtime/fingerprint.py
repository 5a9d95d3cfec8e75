"""Fingerprints of code by what it does: comments, docstrings, blank lines and trailing spaces do not count.

What remains is cut out of the source by positions, not printed anew from the syntax tree, whose text differs between versions of
Python: the same file has the same fingerprint everywhere.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator

# Python 3.12 gives f-strings, 3.14 also t-strings, in pieces between these.
_OPENING = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_CLOSING = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}

Span = tuple[tuple[int, int], tuple[int, int]]
"""Beginning and end, each a row from 0 and a character in it."""


def plain_code(source: str) -> str:
    r"""The source of a module without what cannot change a result; everything else stays letter by letter.

    A docstring is every string that stands as a statement of its own, those below attributes too. Blank lines and trailing
    spaces inside other strings stay.

    Raises:
        SyntaxError: The source is no Python.

    Example:
        >>> plain_code("x = 1  # one\n\n'A number.'\n")
        'x = 1\n'
    """
    # Lines end at line feeds alone, unlike those of splitlines.
    lines = source.replace("\r\n", "\n").split("\n")
    _cut(lines, _docstrings(lines))
    comments, inside = _comments_and_strings("\n".join(lines))
    _cut(lines, comments)
    kept = (line if row in inside else line.rstrip() for row, line in enumerate(lines))
    return "".join(f"{line}\n" for row, line in enumerate(kept) if line or row in inside)


def fingerprint(source: str) -> str:
    """Hash (SHA-256, in hexadecimal digits) of the plain code of a module."""
    return hashlib.sha256(plain_code(source).encode()).hexdigest()


def _cut(lines: list[str], spans: Iterable[Span]) -> None:
    """Take the spans out; rows stay, empty if nothing else is in them."""
    # From the end, so that earlier positions stay valid.
    for (first, start), (last, end) in sorted(spans, reverse=True):
        lines[first] = lines[first][:start] + lines[last][end:]
        lines[first + 1 : last + 1] = [""] * (last - first)


def _docstrings(lines: list[str]) -> list[Span]:
    """Spans of strings that are statements of their own."""
    return [
        ((first, _character(lines[first], node.col_offset)), (last, _character(lines[last], node.end_col_offset)))
        for node in _statements(ast.parse("\n".join(lines)))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for first, last in [(node.lineno - 1, (node.end_lineno or node.lineno) - 1)]
    ]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Those in a node, at any depth. A walk through all expressions would take four times as long."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, block, ()):
            yield inner
            yield from _statements(inner)


def _character(line: str, offset: int | None) -> int:
    """The character at an offset in bytes, as syntax trees count."""
    return len(line.encode()[:offset].decode())


def _comments_and_strings(source: str) -> tuple[list[Span], set[int]]:
    """Spans of comments, and the rows at whose end a string is not over."""
    comments: list[Span] = []
    inside: set[int] = set()
    # Nothing to look for: the tokenizer, which takes most of the time, is spared.
    if not any(sign in source for sign in ("#", "'''", '"""', "\\\n")):
        return comments, inside
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, last = token.start[0] - 1, token.end[0] - 1
        if token.type == tokenize.COMMENT:
            comments.append(((row, token.start[1]), (last, token.end[1])))
        elif token.type == tokenize.STRING:
            inside.update(range(row, last))
        elif token.type in _OPENING:
            opened.append(row)
        elif token.type in _CLOSING:
            inside.update(range(opened.pop(), last))
    return comments, inside
