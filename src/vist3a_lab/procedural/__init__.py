"""The embedded world: ray-cast scenes of simple objects with exact colour, depth, cameras, labels and captions."""

from vist3a_lab.procedural.attributes import (
    BACKGROUNDS,
    COLOURS,
    FINISHES,
    GROUNDS,
    MAX_OBJECTS,
    PAIRS,
    RELATIONS,
    SHAPES,
    SIZES,
)
from vist3a_lab.procedural.camera_paths import cameras
from vist3a_lab.procedural.captions import MAX_WORDS, VOCABULARY, Prompt, PromptObject, compose, describe
from vist3a_lab.procedural.kinds import kinds_of
from vist3a_lab.procedural.layout import MAX_EXTRA_VIEWS, sample_scenes
from vist3a_lab.procedural.prompts import parse_prompt, sample_prompts
from vist3a_lab.procedural.raycast import render, trace
from vist3a_lab.procedural.scene import ObjectDescription, Relation, SceneBatch, SceneDescription, SceneLabels
from vist3a_lab.procedural.world import WorldBatch, WorldConfig, make_world

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "FINISHES",
    "GROUNDS",
    "MAX_EXTRA_VIEWS",
    "MAX_OBJECTS",
    "MAX_WORDS",
    "PAIRS",
    "RELATIONS",
    "SHAPES",
    "SIZES",
    "VOCABULARY",
    "ObjectDescription",
    "Prompt",
    "PromptObject",
    "Relation",
    "SceneBatch",
    "SceneDescription",
    "SceneLabels",
    "WorldBatch",
    "WorldConfig",
    "cameras",
    "compose",
    "describe",
    "kinds_of",
    "make_world",
    "parse_prompt",
    "render",
    "sample_prompts",
    "sample_scenes",
    "trace",
]
