"""Clips to distill on in shifted worlds: pictures alone, in the shares of the clips that there are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from vist3a.data.clip_store import ClipStore
from vist3a.records.clip_shape import ClipShape
from vist3a_lab.pipelines.claims.shifted_clips import read_shifted, write_shifted
from vist3a_lab.procedural import WorldConfig
from vist3a_lab.procedural.shifted import SHIFTS, make_shifted


def test_clips_take_turns_among_the_worlds_and_have_no_labels(tmp_path: Path) -> None:
    like = pd.DataFrame({"split": ["fit"] * 6 + ["selection"] * 2 + ["heldout"] * 2})
    write_shifted(tmp_path, like, 59, 0, ClipShape(frames=5, height=16, width=16), torch.device("cpu"))
    store = ClipStore(tmp_path, read_shifted(tmp_path))
    assert [len(store.names(split)) for split in ("fit", "selection", "heldout")] == [6, 2, 2]
    for number, shift in enumerate([*SHIFTS.values()] * 2):
        clip = store.load(f"scene-{number:05d}")
        assert clip.cameras is None and clip.depth is None
        batch, given = make_shifted(WorldConfig(59, 5, height=16, width=16), [number], shift)
        assert clip.caption == batch.captions[0]
        wanted = given[0]
        assert float((clip.frames - wanted).abs().max()) <= 0.5 / 255 + 1e-6
