"""Prompts to align on or to generate: a text file, or the procedural grammar."""

from __future__ import annotations

from pathlib import Path


def read_prompts(path: Path) -> list[str]:
    """One prompt per line; blank lines and lines starting with # are skipped. ValueError when nothing is left."""
    if not path.is_file():
        raise ValueError(f"prompt file {path} does not exist")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise ValueError(f"prompt file {path} holds no prompt (one per line; lines starting with # are comments)")
    return prompts
