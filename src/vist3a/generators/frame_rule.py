"""Numbers of frames that a family of generators takes, asked of its class: no network is needed for it."""

from __future__ import annotations

from vist3a import registry
from vist3a.generators.base import VideoGenerator
from vist3a.records.frame_count import AllowedFrames


def allowed_frames(family: str) -> AllowedFrames:
    """The rule of frame counts of a family's generators as published; nothing is read or downloaded.

    Raises:
        ValueError: There is no such family, or its class does not say (see :attr:`VideoGenerator.temporal_stride`).
    """
    generator_class: type[VideoGenerator] = registry.find("generators", family, "networks.generator.family")
    rule = generator_class.from_pretrained("", parts=()).allowed_frames
    try:
        rule(1)
    except AttributeError as error:
        raise ValueError(
            f"networks.generator.family: {family!r}: {generator_class.__name__} says nothing of frame counts without networks "
            f"({error}); allowed: a class with temporal_stride, or with its own allowed_frames"
        ) from error
    return rule
