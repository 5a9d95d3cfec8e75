"""Prompts to align on or to generate: a text file, or the procedural grammar."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from vist3a.generators.base import VideoGenerator
from vist3a.generators.word_tokenizer import UnknownWords

NAMED_PROMPTS = 20
SHOWN_CHARACTERS = 100

logger = logging.getLogger(__name__)


def read_prompts(path: Path) -> list[str]:
    """One prompt per line; blank lines and lines starting with # are skipped. ValueError when nothing is left."""
    if not path.is_file():
        raise ValueError(f"prompt file {path} does not exist")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise ValueError(f"prompt file {path} holds no prompt (one per line; lines starting with # are comments)")
    return prompts


def check_prompts(prompts: Sequence[str], generator: VideoGenerator) -> None:
    """Warnings naming the words that the generator does not know, and prompts that are too long for it.

    ValueError for a prompt without any known word.
    """
    for prompt, (_, changed) in zip(prompts, generator.read_as(prompts), strict=True):
        if changed:
            words = ", ".join(f'"{word}" as "{meant}"' for word, meant in changed.items())
            logger.info('prompt "%s" is read with %s', prompt[:SHOWN_CHARACTERS], words)
    found = generator.unknown_words(prompts)
    hopeless = [entry for entry in found if entry.nothing_known]
    if hopeless:
        others = len(hopeless) - 1
        more = f" (and {others} more prompt{'s' * (others > 1)} like it)" if others else ""
        raise ValueError(f"{_sentence(hopeless[0])}; the generator knows no word of this prompt{more}")
    if found:
        lines = [_sentence(entry) for entry in found[:NAMED_PROMPTS]]
        if len(found) > NAMED_PROMPTS:
            lines.append(f"{len(found) - NAMED_PROMPTS} more prompts have unknown words")
        logger.warning("\n".join(lines))
    for prompt, tokens, read in generator.cut_prompts(prompts)[:NAMED_PROMPTS]:
        logger.warning(
            'prompt "%s...": %d tokens; the generator reads the first %d', prompt[:SHOWN_CHARACTERS], tokens, read
        )


def _sentence(entry: UnknownWords) -> str:
    parts = []
    for word, nearest in entry.nearest.items():
        near = f"nearest known: {', '.join(nearest)}" if nearest else "no known word is near"
        parts.append(f'unknown word "{word}"; {near}')
    return f'prompt "{entry.prompt}": {"; ".join(parts)}'
