"""How docstrings become Markdown: sections by the names that mkdocstrings knows, and the roles of Sphinx as plain code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|meth|func|mod|attr|data):`(~?)([\w.]+)`")


def as_markdown(text: str) -> str:
    """``Example:`` as the section ``Examples:``, ``:func:`a.b``` as code, and a block after ``::`` as one after ``:``.

    Example:
        >>> as_markdown("See :func:`~vist3a.stitching.stitch.stitch`::")
        'See `stitch`:'
    """
    text = re.sub(r"^([ \t]*)Example:[ \t]*$", r"\1Examples:", text, flags=re.MULTILINE)
    text = ROLE.sub(lambda found: f"`{found[2].rpartition('.')[2] if found[1] else found[2]}`", text)
    return re.sub(r"::[ \t]*$", ":", text, flags=re.MULTILINE)


class MarkdownDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
