"""Word-level tokenizer for the embedded networks: lower case, one id per word, `</s>` at the end."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
NEAREST = 3

# Words of one meaning, for suggestions where the spelling does not help; only known words are ever suggested.
_ALIKE = tuple(
    frozenset(line.split())
    for line in (
        "red crimson scarlet maroon ruby pink magenta",
        "blue azure navy cyan turquoise teal indigo",
        "green lime emerald olive mint turquoise teal",
        "yellow golden gold amber lemon",
        "purple violet lilac lavender indigo magenta",
        "orange amber tangerine",
        "white ivory silver grey gray",
        "black charcoal grey gray",
        "sphere ball globe orb marble",
        "cube box block brick crate dice",
        "cylinder tube can barrel drum column pillar",
        "cone pyramid",
        "small little tiny mini short",
        "large big huge giant tall great",
        "shiny glossy metal metallic polished chrome glass",
        "striped stripes stripy lined",
        "checkered chequered checked",
        "plain matte simple",
        "wooden wood timber oak parquet",
        "stone rock concrete marble",
        "sandy sand beach desert",
        "grassy grass lawn meadow",
        "tiled tile tiles",
        "floor ground surface",
        "beside near alongside",
        "behind beyond",
        "sunset dusk evening dawn sunrise",
        "night midnight",
        "image picture photo photograph",
    )
)


@dataclass(frozen=True)
class UnknownWords:
    """Words of a prompt that a closed vocabulary lacks, each with the nearest known ones, the best first."""

    prompt: str
    nearest: dict[str, tuple[str, ...]]
    nothing_known: bool


def build_tokenizer(vocabulary: Sequence[str]) -> Tokenizer:
    """Tokenizer whose ids are pad 0, end 1, unknown 2, then the words in the given order."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    words = (PAD, END, UNKNOWN, *vocabulary)
    if len(set(words)) != len(words):
        raise ValueError("the vocabulary repeats a word")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return tokenizer


def as_transformers(tokenizer: Tokenizer, max_length: int) -> PreTrainedTokenizerFast:
    """The same tokenizer in the class that a text-encoder folder stores."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=max_length
    )


def vocabulary(tokenizer: Any) -> Collection[str] | None:
    """The words of a tokenizer that knows whole words alone; None for those that spell words in pieces."""
    from tokenizers.models import WordLevel

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not isinstance(backend.model, WordLevel):
        return None
    return frozenset(tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens))


def unknown_words(tokenizer: Any, prompts: Sequence[str]) -> list[UnknownWords]:
    """One entry per prompt with words that become ``<unk>``; none for tokenizers that spell words in pieces."""
    known = vocabulary(tokenizer)
    if known is None:
        return []
    nearest: dict[str, tuple[str, ...]] = {}
    found = []
    for prompt in prompts:
        tokens = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
        words = [prompt[start:end] for token, (start, end) in spans if token == tokenizer.unk_token_id]
        for word in words:
            if word not in nearest:
                nearest[word] = nearest_words(word, known)
        if words:
            nothing_known = len(words) == len(tokens["input_ids"])
            found.append(UnknownWords(prompt, {word: nearest[word] for word in words}, nothing_known))
    return found


def read_as(text: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """``text`` in known words, and what was read as what: plurals, and words of one meaning where only one of them is known.

    Punctuation goes, if it is not known. A text of known words alone stays as it is, and so do words that nothing is read for.

    Example:
        >>> read_as("two violet cones", {"two", "purple", "cone"})
        ('two purple cone', {'violet': 'purple', 'cones': 'cone'})
    """
    words = re.findall(r"\w+|[^\w\s]+", text)
    if all(word.lower() in known for word in words):
        return text, {}
    read, changed = [], {}
    for word in words:
        meant = word if word.lower() in known else _meant(word.lower(), known)
        if meant is not None and meant != word:
            changed[word] = meant
        # Unknown words stay, so that somebody can say that they are unknown; unknown signs go.
        if meant is not None or word[0].isalnum() or word[0] == "_":
            read.append(meant or word)
    # Of signs alone nothing is left, and nothing is meant: whoever asks says so.
    return (" ".join(read), changed) if read else (text, {})


def _meant(word: str, known: Collection[str]) -> str | None:
    """The known word that means the same beyond doubt."""
    # First the plural of a known word.
    single = next((word.removesuffix(end) for end in ("es", "s") if word.removesuffix(end) in known), None)
    if single is not None and single != word:
        return single
    # Then a word of the table, in the singular or plural, if just one known word shares its meaning.
    forms = {word, word.removesuffix("s"), word.removesuffix("es")}
    groups = [sorted(group & set(known)) for group in _ALIKE if forms & group]
    alike = {other for group in groups for other in group}
    # Amber is yellow or orange: who would know?
    return alike.pop() if len(alike) == 1 else None


def nearest_words(word: str, known: Collection[str]) -> tuple[str, ...]:
    """At most ``NEAREST`` known words: of the same meaning first, then of similar spelling."""
    word = word.lower()
    alike = sorted(other for group in _ALIKE if word in group for other in group if other in known)
    spelt = get_close_matches(word, sorted(known), NEAREST, cutoff=0.7)
    return tuple(dict.fromkeys([*alike, *spelt]))[:NEAREST]
