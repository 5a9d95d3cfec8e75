"""The generator of a pairing takes some numbers of frames: a wrong one is told before the first node, not hours later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kedro.framework.hooks import hook_impl

FAMILY = "networks.generator.family"


class FrameCounts:
    """Asks the generator about every ``frames`` and every list of ``views`` in the parameters that a run reads."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """ValueError of one sentence: which parameter, and what the generator takes."""
        # Generators are asked by runs that use one: whole networks, or the name of a family.
        read = {name.removeprefix("params:") for name in pipeline.inputs() if name.startswith("params:")}
        if not read & {"networks", FAMILY} or "parameters" not in catalog:
            return
        from vist3a.generators.frame_rule import allowed_frames
        from vist3a.records.frame_count import check_frames

        given = catalog.load("parameters")
        groups = {name: group.model_dump() if hasattr(group, "model_dump") else group for name, group in given.items()}
        family = groups["networks"]["generator"]["family"]
        allowed = allowed_frames(family)
        for group in sorted(read & groups.keys()):
            for place, frames in frame_counts(groups[group], group):
                check_frames(allowed, frames, f"generator {family}", place)


def frame_counts(value: Any, place: str) -> Iterator[tuple[str, int]]:
    """All lengths of clips in a group of parameters, by their place."""
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        if key == "frames" and isinstance(item, int):
            yield f"{place}.{key}", item
        elif key == "views" and isinstance(item, list | tuple):
            # A list of views is a choice of lengths, each of which may come up.
            yield from ((f"{place}.{key}", views) for views in item)
        else:
            yield from frame_counts(item, f"{place}.{key}")
