"""Relation targets against hand-made captions; the head learns the exclusive-or that they ask for."""

from __future__ import annotations

import torch

from vist3a_lab.pretraining.relation_words import UNKNOWN, RelationHead, relation_targets
from vist3a_lab.procedural import RELATIONS, sample_prompts


def classes(text: str) -> dict[str, str]:
    (row,) = relation_targets([text], 40).tolist()
    words = text.split()
    assert all(value == UNKNOWN for value in row[len(words) :])
    return {word: RELATIONS[value] for word, value in zip(words, row, strict=False) if value != UNKNOWN}


def test_subject_and_reference_have_opposite_relations() -> None:
    assert classes("a red cube to the left of a large blue ball on a stone floor") == {
        "red": "left", "cube": "left", "blue": "right", "ball": "right",
    }  # fmt: skip
    assert classes("a green cone in front of a black cylinder with a white box") == {
        "green": "front", "cone": "front", "black": "behind", "cylinder": "behind",
    }  # fmt: skip


def test_the_color_of_a_room_is_no_object() -> None:
    assert classes("in a white room a red cube to the left of a white ball") == {
        "red": "left", "cube": "left", "white": "right", "ball": "right",
    }  # fmt: skip
    words = ["in", "a", "white", "room", "a", "red", "cube", "to", "the", "left", "of", "a", "white", "ball"]
    (row,) = relation_targets([" ".join(words)], 40).tolist()
    assert [i for i, value in enumerate(row) if value != UNKNOWN] == [5, 6, 12, 13]


def test_texts_without_a_relation_have_no_target() -> None:
    assert classes("a red cube next to a blue ball") == {}
    assert classes("") == {}


def test_sampled_prompts_have_a_target_exactly_when_they_state_a_relation() -> None:
    prompts = sample_prompts(5, 64, objects=2)
    rows = relation_targets([prompt.text for prompt in prompts], 40)
    stated = [bool(prompt.relations) for prompt in prompts]
    assert 10 < sum(stated) < 60
    assert ((rows != UNKNOWN).sum(1) == torch.where(torch.tensor(stated), 4, 0)).all()


def test_head_gives_the_mean_cross_entropy_over_known_words() -> None:
    torch.manual_seed(0)
    head, states = RelationHead(6), torch.randn(2, 3, 6)
    targets = torch.tensor([[UNKNOWN, 0, 3], [UNKNOWN, UNKNOWN, 2]])
    log_p = (states @ head.classify.weight.T + head.classify.bias).log_softmax(-1)
    wanted = -(log_p[0, 1, 0] + log_p[0, 2, 3] + log_p[1, 2, 2]) / 3
    torch.testing.assert_close(head(states, targets), wanted)
    nothing = head(states, torch.full((2, 3), UNKNOWN))
    assert float(nothing.detach()) == 0.0
