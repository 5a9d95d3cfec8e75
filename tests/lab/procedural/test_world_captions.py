"""Captions say what is there, in the closed vocabulary."""

import itertools

import pytest
import torch

from vist3a.geometry.projection import project
from vist3a_lab.procedural import (
    BACKGROUNDS,
    COLOURS,
    FINISHES,
    GROUNDS,
    MAX_WORDS,
    PAIRS,
    RELATIONS,
    SHAPES,
    SIZES,
    VOCABULARY,
    cameras,
    compose,
    describe,
    parse_prompt,
    sample_prompts,
    sample_scenes,
)
from vist3a_lab.procedural.captions import (
    BACKGROUND_PHRASES,
    COLOUR_WORDS,
    COUNTED,
    FINISH_WORDS,
    FLOOR_NOUNS,
    GROUND_WORDS,
    NOUNS,
    OPENINGS,
    RELATION_PHRASES,
    SIDE_BY_SIDE,
    SIZE_WORDS,
    STAND,
    PromptObject,
)
from vist3a_lab.procedural.scene import Relation


def test_words_cover_all_attributes():
    assert set(NOUNS) == set(SHAPES) and COLOUR_WORDS == COLOURS and set(SIZE_WORDS) == set(SIZES)
    assert (
        set(FINISH_WORDS) == set(FINISHES) and GROUND_WORDS == GROUNDS and set(BACKGROUND_PHRASES) == set(BACKGROUNDS)
    )
    assert 70 <= len(VOCABULARY) <= 120 and len(set(VOCABULARY)) == len(VOCABULARY)
    assert all(word == word.lower() for word in VOCABULARY)


def test_captions_stay_in_the_vocabulary():
    used = set()
    longest = 0
    texts = set()
    for scene in sample_scenes(0, range(500)).descriptions():
        for variant in range(6):
            words = describe(scene, variant).split()
            used |= set(words)
            longest = max(longest, len(words))
            texts.add(" ".join(words))
    assert used <= set(VOCABULARY)
    assert used == set(VOCABULARY), "every word is reachable"
    assert longest <= MAX_WORDS
    assert len(texts) > 2800


def test_short_sentences_occur():
    scenes = [
        scene
        for scene in sample_scenes(0, range(1000), objects=1).descriptions()
        if (scene.ground, scene.objects[0].colour, scene.objects[0].shape) == ("wooden", "red", "sphere")
    ]
    texts = {describe(scene, variant) for scene in scenes for variant in range(400)}
    assert "a red sphere on a wooden floor" in texts


def test_captions_mention_true_attributes_only():
    for scene in sample_scenes(1, range(300)).descriptions():
        for variant in range(3):
            text = compose(scene, variant)
            assert len(text.objects) == len(scene.objects)
            assert text.ground in (None, scene.ground) and text.background in (None, scene.background)
            for thing in text.objects:
                truth = next(o for o in scene.objects if o.colour == thing.colour)
                assert thing.shape == truth.shape
                assert thing.size in (None, truth.size) and thing.finish in (None, truth.finish)


def test_relations_agree_with_the_first_frame():
    scenes = sample_scenes(2, range(600), dtype=torch.float64)
    solids = scenes.solids
    points = torch.stack([solids.center_x, solids.center_y, solids.height / 2], -1)
    pixels, depth = project(points, cameras(scenes, 1)[:, 0])
    stated = 0
    for row, scene in enumerate(scenes.descriptions()):
        x, z = pixels[row, :, 0].tolist(), depth[row].tolist()
        assert x[: len(scene.objects)] == sorted(x[: len(scene.objects)])
        for relation in scene.relations:
            s, r = relation.subject, relation.reference
            assert {"left": x[s] < x[r], "right": x[s] > x[r], "front": z[s] < z[r], "behind": z[s] > z[r]}[
                relation.kind
            ]
        position = {thing.colour: k for k, thing in enumerate(scene.objects)}
        for variant in range(2):
            text = compose(scene, variant)
            for relation in text.relations:
                s, r = (position[text.objects[k].colour] for k in (relation.subject, relation.reference))
                assert {"left": x[s] < x[r], "right": x[s] > x[r], "front": z[s] < z[r], "behind": z[s] > z[r]}[
                    relation.kind
                ]
                stated += 1
    assert stated > 200


def test_labels_match_descriptions():
    scenes = sample_scenes(3, range(100))
    labels = scenes.labels
    for row, scene in enumerate(scenes.descriptions()):
        count = int(labels.num_objects[row])
        assert len(scene.objects) == count and (labels.shapes[row, count:] == -1).all()
        assert [o.shape for o in scene.objects] == [SHAPES[k] for k in labels.shapes[row, :count]]
        assert [o.colour for o in scene.objects] == [COLOURS[k] for k in labels.colours[row, :count]]
        assert len({o.colour for o in scene.objects}) == count
        assert scene.ground == GROUNDS[labels.ground[row]] and scene.background == BACKGROUNDS[labels.background[row]]
        kinds = {(r.subject, r.reference): r.kind for r in scene.relations}
        for pair, kind in zip(PAIRS, labels.relations[row].tolist(), strict=True):
            assert kinds.get(pair) == (RELATIONS[kind] if kind >= 0 else None)
            assert kind == -1 or max(pair) < count


def test_prompts_parse_to_what_they_state():
    for objects in (None, 1, 2, 3):
        prompts = sample_prompts(5, 150, objects)
        assert len(prompts) == 150
        for prompt in prompts:
            assert parse_prompt(prompt.text) == prompt
            assert objects is None or len(prompt.objects) == objects


def test_every_variant_of_a_scene_parses_to_what_it_states():
    for scene in sample_scenes(6, range(150)).descriptions():
        for variant in range(8):
            prompt = compose(scene, variant)
            assert parse_prompt(prompt.text) == prompt


def _read(text):
    prompt = parse_prompt(text)
    assert set(text.replace(",", "").split()) <= set(VOCABULARY), "a paraphrase stays in the vocabulary"
    return prompt.objects, prompt.ground, prompt.background, prompt.relations


@pytest.mark.parametrize(("shape", "noun"), [(shape, noun) for shape, nouns in NOUNS.items() for noun in nouns])
@pytest.mark.parametrize("size", [(size, word) for size, words in SIZE_WORDS.items() for word in words])
@pytest.mark.parametrize("finish", [(finish, word) for finish, words in FINISH_WORDS.items() for word in words])
def test_paraphrases_of_an_object_are_one_object(shape, noun, size, finish):
    expected = (PromptObject(shape, "red", size[0], finish[0]),)
    for opening in OPENINGS:
        for words in (f"{size[1]} {finish[1]}", f"{finish[1]} {size[1]}"):
            assert _read(f"{opening} a {words} red {noun}") == (expected, None, None, ())


def test_paraphrases_of_the_surroundings_are_one_scene():
    for background, phrases in BACKGROUND_PHRASES.items():
        expected = ((PromptObject("cube", "blue"),), "stone", background, ())
        for phrase, noun, stand, floor in itertools.product(phrases, NOUNS["cube"], set(STAND), FLOOR_NOUNS):
            body = f"a blue {noun} {stand} on a stone {floor}"
            assert _read(f"{body} {phrase}") == _read(f"{phrase}, there is {body}") == expected


def test_paraphrases_of_a_relation_are_one_relation():
    things = PromptObject("sphere", "red"), PromptObject("cube", "green")
    for kind, phrases in RELATION_PHRASES.items():
        for phrase, ball, box in itertools.product(phrases, NOUNS["sphere"], NOUNS["cube"]):
            text = f"a red {ball} {phrase} a green {box}"
            assert _read(text) == _read(f"we see {text}") == (things, None, None, (Relation(0, kind, 1),))
    for phrase in SIDE_BY_SIDE:
        for counted in ("", *COUNTED[2]):
            assert _read(f"{counted} a red ball {phrase} a green box") == (things, None, None, ())


def test_parser_reads_free_text():
    prompt = parse_prompt("A big red ball to the left of a blue box, on a brick floor under a night sky.")
    assert [(o.shape, o.colour, o.size) for o in prompt.objects] == [("sphere", "red", "large"), ("cube", "blue", None)]
    assert (prompt.relations[0].kind, prompt.ground, prompt.background) == ("left", "brick", "night sky")
    assert parse_prompt("nothing known here").objects == ()


def test_objects_stay_in_view():
    scenes = sample_scenes(9, range(500), dtype=torch.float64)
    solids = scenes.solids
    points = torch.stack([solids.center_x, solids.center_y, solids.height / 2], -1)
    views = cameras(scenes, 13)
    present = torch.arange(3) < scenes.labels.num_objects[:, None]
    for view in (0, 6, 12):
        pixels, _ = project(points, views[:, view])
        assert ((pixels > 4) & (pixels < 60)).all(-1)[present].all()
