"""Length and Flesch-Kincaid grade of a Markdown text: how many years of school its English asks for.

    python docs/site/readability.py README.md docs/index.md

Grade = 0.39 words per sentence + 11.8 syllables per word - 15.59 (Kincaid et al., 1975), of the prose alone: headings, code,
tables, pictures and addresses are left out, and a piece of code within a sentence counts as one short word. A list item is a
sentence.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

VOWELS = re.compile(r"[aeiouy]+")
SPOKEN = ("ted", "ded", "ses", "zes", "ches", "shes", "ges", "ces")
"""Endings whose e is spoken."""


def words(text: str) -> int:
    """All words of the file as ``wc -w`` counts them, code and tables included."""
    return len(text.split())


def prose(text: str) -> str:
    """What is read as sentences, one paragraph a line."""
    text = re.sub(r"^```.*?^```|<!--.*?-->|\$\$.*?\$\$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)|<https?://[^>]+>|https?://\S+", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "it", text)
    paragraphs = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*:] |\d+\. |#))", text):
        line = " ".join(part for part in block.splitlines() if not part.lstrip().startswith("|")).strip()
        line = re.sub(r"^(?:[-*:]|\d+\.)\s+", "", line)
        if line and not line.startswith("#"):
            paragraphs.append(line if line[-1] in ".!?" else line + ".")
    return "\n".join(paragraphs)


def syllables(word: str) -> int:
    """Groups of vowels, without a silent e at the end."""
    word = re.sub(r"[^a-z]", "", word.lower())
    count = len(VOWELS.findall(word))
    if word.endswith("e") and not word.endswith(("le", "ee")) and count > 1:
        count -= 1
    if word.endswith(("ed", "es")) and count > 1 and not word.endswith(SPOKEN):
        count -= 1
    return max(count, 1)


def grade(text: str) -> float:
    """The grade of a Markdown text; ValueError for one without a sentence."""
    plain = prose(text)
    sentences = [part for part in re.split(r"[.!?](?:\s+|$)", plain) if re.search(r"[A-Za-z]", part)]
    found = re.findall(r"[A-Za-z][A-Za-z'-]*", plain)
    if not sentences or not found:
        raise ValueError("the text has no sentence")
    return 0.39 * len(found) / len(sentences) + 11.8 * sum(map(syllables, found)) / len(found) - 15.59


if __name__ == "__main__":
    for name in sys.argv[1:]:
        told = Path(name).read_text(encoding="utf-8")
        print(f"{grade(told):5.1f}  {words(told):5d} words  {name}")
