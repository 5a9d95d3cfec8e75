"""Words that a closed vocabulary lacks are found and named; tokenizers of pieces lack none."""

from __future__ import annotations

import pytest
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
    unknown_words,
)


def test_unknown_words_come_with_the_nearest_known_ones() -> None:
    found = tiny_generator().unknown_words(["a red ball", "A crimson ball on the flor, crimson", "zwei Balls"])
    assert found == [
        UnknownWords(
            "A crimson ball on the flor, crimson",
            {"crimson": ("red",), "flor": ("floor",), ",": ()},
            nothing_known=False,
        ),
        UnknownWords("zwei Balls", {"zwei": (), "Balls": ("ball",)}, nothing_known=True),
    ]


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
