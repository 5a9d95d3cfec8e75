"""Prompt files: what counts as a prompt, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from vist3a.scenes.prompt_list import read_prompts


def test_blank_lines_and_comments_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# mine\n\n a red ball \nzwei grüne Würfel\n", encoding="utf-8")
    assert read_prompts(path) == ["a red ball", "zwei grüne Würfel"]


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.txt does not exist"):
        read_prompts(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"empty\.txt holds no prompt"):
        read_prompts(tmp_path / "empty.txt")
