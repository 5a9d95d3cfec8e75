"""How docstrings become Markdown: sections by the names that mkdocstrings knows, and the roles of Sphinx as plain code."""

from __future__ import annotations

import inspect
import re
from typing import Any

import griffe

TABLE = re.compile(r"^(=+ +)=+\n(.*?)\n=+ +=+$", re.MULTILINE | re.DOTALL)
ROLE = re.compile(r":(?:class|meth|func|mod|attr|data):`(~?)([\w.]+)`")


def as_markdown(text: str) -> str:
    """Sections ``Example:`` as ``Examples:``, roles as code, tables with bars, ``::`` before a block as ``:``.

    Example:
        >>> as_markdown("See :func:`~vist3a.stitching.stitch.stitch`::")
        'See `stitch`:'
    """
    text = re.sub(r"^([ \t]*)Example:[ \t]*$", r"\1Examples:", text, flags=re.MULTILINE)
    # Before the roles, which are as wide as the columns were made for.
    text = TABLE.sub(lambda found: _table(found[2].splitlines(), len(found[1])), text)
    text = ROLE.sub(lambda found: f"`{found[2].rpartition('.')[2] if found[1] else found[2]}`", text)
    return re.sub(r"::[ \t]*$", ":", text, flags=re.MULTILINE)


def _table(lines: list[str], width: int) -> str:
    """A table of two columns, the first ``width`` characters wide and the second behind it; a line may go on in the next."""
    rows: list[list[str]] = []
    for line in lines:
        first, second = line[:width].strip(), line[width:].strip()
        if first:
            rows.append([first, second])
        else:
            rows[-1][1] += f" {second}"
    return "\n".join(["| | |", "|---|---|", *(f"| {first} | {second} |" for first, second in rows)])


class MarkdownDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(inspect.cleandoc(obj.docstring.value))
