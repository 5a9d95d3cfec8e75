"""A number of frames that the generator does not take is refused before the first node, wherever it stands."""

from __future__ import annotations

from typing import Any

import project_config
import pytest
from kedro.io import DataCatalog, MemoryDataset
from omegaconf import OmegaConf

from vist3a_app.hooks.frame_counts import FrameCounts


def begin(pipeline: str, **changes: Any) -> None:
    """The hook as a run with these parameters calls it."""
    given = OmegaConf.to_container(OmegaConf.merge(dict(project_config.loader("base")["parameters"]), changes))
    catalog = DataCatalog({"parameters": MemoryDataset(given)})
    FrameCounts().before_pipeline_run(project_config.pipelines()[pipeline], catalog)


@pytest.mark.parametrize("pipeline", ["curate", "stitch", "generate", "claims", "layer_study"])
def test_the_embedded_pairing_passes(pipeline: str) -> None:
    begin(pipeline)


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("evaluate.frames", {"evaluate": {"frames": 14}}),
        ("align.frames", {"align": {"frames": 14}}),
        ("distill.views", {"distill": {"views": [13, 14]}}),
        ("curate.frames", {"curate": {"frames": 14}}),
        ("extract.frames", {"extract": {"frames": 14}}),
    ],
)
def test_what_the_generator_does_not_take_is_named(place: str, changes: dict[str, Any]) -> None:
    sentence = rf"^{place}: 14 frames: generator wan takes 1, 5, 9, \.\.\. frames \(nearest: 13 or 17\)"
    with pytest.raises(ValueError, match=sentence):
        begin("stitch", **changes)
    svd = {"networks": {"generator": {"family": "svd"}}}
    begin("stitch", **changes, **svd)


def test_what_a_run_does_not_read_is_not_looked_at() -> None:
    begin("curate", generate={"frames": 14})


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(ValueError, match=r"networks\.generator\.family: 'wam'; allowed: wan, "):
        begin("curate", networks={"generator": {"family": "wam"}})
