"""Words that a closed vocabulary lacks are found and named; tokenizers of pieces lack none."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import WORDS, tiny_generator
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram
from transformers import PreTrainedTokenizerFast

from vist3a.generators.word_tokenizer import (
    UNKNOWN,
    UnknownWords,
    as_transformers,
    build_tokenizer,
    nearest_words,
    read_as,
    unknown_words,
)


def test_unknown_words_come_with_the_nearest_known_ones() -> None:
    found = tiny_generator().unknown_words(["a red ball", "A crimson ball on the flor, crimson", "zwei Frogs"])
    assert found == [
        UnknownWords("A crimson ball on the flor, crimson", {"flor": ("floor",)}, nothing_known=False),
        UnknownWords("zwei Frogs", {"zwei": (), "Frogs": ()}, nothing_known=True),
    ]


@pytest.mark.parametrize(
    ("text", "read", "changed"),
    [
        ("a red ball", "a red ball", {}),
        ("A Red ball", "A Red ball", {}),
        ("two balls, one red", "two ball one red", {"balls": "ball"}),
        ("a crimson globe", "a red ball", {"crimson": "red", "globe": "ball"}),
        ("globes on the lawn", "ball on the lawn", {"globes": "ball"}),
        ("a teal frog", "a green frog", {"teal": "green"}),
        ("a box.", "a cube", {"box": "cube"}),
        ("?!", "?!", {}),
        ("", "", {}),
    ],
)
def test_what_means_the_same_is_read_as_a_known_word(text: str, read: str, changed: dict[str, str]) -> None:
    assert read_as(text, WORDS) == (read, changed)


def test_what_may_mean_two_things_is_left_alone() -> None:
    assert read_as("an amber cube", ["an", "yellow", "orange", "cube"]) == ("an amber cube", {})
    assert read_as("an amber cube", ["an", "yellow", "cube"]) == ("an yellow cube", {"amber": "yellow"})


def test_a_plural_is_embedded_as_what_it_is_read_as() -> None:
    generator = tiny_generator()
    (one, other), (same, different) = (
        generator.embed(texts).tensors["text"].unbind(0)
        for texts in (["a red ball", "a red cube"], ["a crimson globe", "a frog"])
    )
    assert torch.equal(one, same)
    assert not torch.equal(other, different)


def test_nothing_is_cut_before_it_is_read() -> None:
    tokenizer = as_transformers(build_tokenizer(WORDS), 4)
    tokenizer(["a"], padding="max_length", max_length=4, truncation=True)
    (found,) = unknown_words(tokenizer, ["a red ball on the green floor sphere"])
    assert list(found.nearest) == ["sphere"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [("Globe", ("ball",)), ("greeen", ("green",)), ("box", ("cube",)), ("qqqq", ()), ("teal", ("green",))],
)
def test_meaning_goes_before_spelling(word: str, expected: tuple[str, ...]) -> None:
    assert nearest_words(word, WORDS)[: max(1, len(expected))] == expected


def test_only_known_words_are_suggested() -> None:
    assert set(nearest_words("crimson", ["scarlet", "cube"])) == {"scarlet"}
    assert len(nearest_words("ball", [f"ball{k}" for k in range(9)])) == 3


@pytest.mark.parametrize("model", [Unigram([(UNKNOWN, 0.0), ("a", -1.0)], 0), BPE({UNKNOWN: 0}, [], unk_token=UNKNOWN)])
def test_tokenizers_of_pieces_never_warn(model: Unigram | BPE) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token=UNKNOWN)
    assert unknown_words(tokenizer, ["zebra"]) == []
    assert unknown_words(None, ["zebra"]) == []


def test_prompts_that_are_read_alike_are_all_named() -> None:
    generator, prompts = tiny_generator(), ["a crimson foo", "a red foo", "a red ball", "a scarlet foo"]
    found = generator.unknown_words(prompts)
    assert [entry.prompt for entry in found] == [prompts[0], prompts[1], prompts[3]]
    assert all(list(entry.nearest) == ["foo"] for entry in found)
