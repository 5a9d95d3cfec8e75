"""Prompt files: what counts as a prompt, and what is said when there is none, or when its words are unknown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tiny_networks import tiny_generator
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from vist3a.data.prompt_list import NAMED_PROMPTS, check_prompts, read_prompts


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


def test_unknown_words_are_one_warning_per_list(caplog: pytest.LogCaptureFixture) -> None:
    generator = tiny_generator()
    check_prompts(["a red ball", "on the floor"], generator)
    assert caplog.records == []
    check_prompts(["a red bal", "a red ball", "a red zebra"], generator)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().splitlines() == [
        'prompt "a red bal": unknown word "bal"; nearest known: ball',
        'prompt "a red zebra": unknown word "zebra"; no known word is near',
    ]


def test_the_run_says_what_is_read_as_a_known_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check_prompts(["a crimson ball", "two balls, a cube"], tiny_generator())
    assert caplog.messages == [
        'prompt "a crimson ball" is read with "crimson" as "red"',
        'prompt "two balls, a cube" is read with "balls" as "ball"',
        'prompt "two balls, a cube": unknown word "two"; no known word is near',
    ]


def test_a_long_list_stays_readable(caplog: pytest.LogCaptureFixture) -> None:
    check_prompts([f"a x{k}x" for k in range(50)], tiny_generator())
    (record,) = caplog.records
    assert len(record.getMessage().splitlines()) == NAMED_PROMPTS + 1
    assert record.getMessage().endswith("30 more prompts have unknown words")


def test_a_prompt_without_a_known_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r'^prompt "Rote Balle": unknown word "Rote".*knows no word of this prompt$'):
        check_prompts(["a red ball", "Rote Balle"], tiny_generator())
    with pytest.raises(ValueError, match="and 1 more prompt like it"):
        check_prompts(["zwei", "drei"], tiny_generator())


def test_a_vocabulary_of_pieces_knows_every_word(caplog: pytest.LogCaptureFixture) -> None:
    generator = tiny_generator()
    pieces = Tokenizer(BPE({"<unk>": 0, "z": 1, "w": 2, "e": 3, "i": 4}, [], unk_token="<unk>"))
    generator.tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="<unk>")
    check_prompts(["zwei"], generator)
    assert caplog.records == []


def test_a_prompt_that_is_cut_is_named_with_what_is_read(caplog: pytest.LogCaptureFixture) -> None:
    generator = tiny_generator()
    with caplog.at_level(logging.WARNING):
        check_prompts(["a red ball", "a red ball on the green floor on the red cube"], generator)
    assert caplog.messages == [
        'prompt "a red ball on the green floor on the red cube...": 12 tokens; the generator reads the first 8'
    ]
