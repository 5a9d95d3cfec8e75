"""What counts in a fingerprint and what does not, and that all versions of Python agree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from vist3a.runtime.fingerprint import fingerprint, plain_code

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "vist3a"
SOURCE = '''"""A module.

With é and ü, so that bytes are not characters.
"""

LIMIT = 3  # of what
"""What it is."""


class Fault(ValueError):
    """é""" ; code = 4


def shout(text: str) -> str:
    """Doc."""

    # why
    é = f"""{text}   
  # no comment

{len("#")!r:>{LIMIT}}"""  # one
    return é + (
        "a"  # first

        "b"
    )
'''  # noqa: W291
PLAIN = '''LIMIT = 3
class Fault(ValueError):
     ; code = 4
def shout(text: str) -> str:
    é = f"""{text}   
  # no comment

{len("#")!r:>{LIMIT}}"""
    return é + (
        "a"
        "b"
    )
'''  # noqa: W291


def test_what_is_left() -> None:
    assert plain_code(SOURCE) == PLAIN
    assert plain_code(SOURCE.replace("\n", "\r\n")) == PLAIN


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A module.", "Another module, in more words."),
        ('"""Doc."""', '"""Doc.\n\n    Returns:\n        A text.\n    """'),
        ("# why", "# because\n    # of this"),
        ('"a"  # first\n', '"a"   \n\n\n'),
        ('"""What it is."""\n', ""),
        ("LIMIT = 3  # of what", "# of what\nLIMIT = 3"),
    ],
)
def test_words_do_not_count(before: str, after: str) -> None:
    assert before in SOURCE
    assert fingerprint(SOURCE.replace(before, after)) == fingerprint(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("# no comment", "# a comment"),
        ("{text}   \n", "{text}\n"),
        ("  # no comment\n\n", "  # no comment\n"),
        ('"b"', '"B"'),
        ("text: str", "words: str"),
        ("    return é", "    if text:\n        return é"),
    ],
)
def test_code_counts(before: str, after: str) -> None:
    assert before in SOURCE
    assert fingerprint(SOURCE.replace(before, after)) != fingerprint(SOURCE)


def test_the_fingerprint_is_the_same_in_every_version_of_python() -> None:
    """Recorded with 3.11; 3.12 was the first to give f-strings in pieces."""
    assert fingerprint(SOURCE) == "e52727e6ed6fc4acc282130665d0190d9f0bd029ec3b1a39723378832361eb90"


def test_plain_code_is_the_same_program() -> None:
    """As the syntax tree sees it, wherever a docstring is not all there is of a class or function."""
    compared = 0
    for path in sorted(PACKAGE.rglob("*.py"))[::3]:
        program = ast.parse(path.read_text())
        for node in ast.walk(program):
            if isinstance(getattr(node, "body", None), list):
                node.body = [one for one in node.body if not _is_string(one)]  # type: ignore[attr-defined]
        if all(getattr(node, "body", True) or node is program for node in ast.walk(program)):
            assert ast.dump(ast.parse(plain_code(path.read_text()))) == ast.dump(program), path
            compared += 1
    assert compared > 40


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
