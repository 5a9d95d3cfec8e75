"""The script for real clips measures what a folder holds, and says which clips curation would refuse."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from vist3a.export.video import save_image, save_video
from vist3a_lab.procedural import WorldConfig, make_world

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS = REPOSITORY / "data" / "06_models" / "embedded"


def test_every_clip_is_read_and_measured(tmp_path: Path) -> None:
    if not (WEIGHTS / "generator").is_dir():
        pytest.skip("the embedded networks are not here; `make setup` fetches them from the repository")
    views = make_world(WorldConfig(9001), [0, 1]).rgb
    save_video(tmp_path / "clips" / "moving.mp4", views[0])
    save_video(tmp_path / "clips" / "still.mp4", views[1, :1].expand(13, -1, -1, -1))
    for number, view in enumerate(views[1]):
        save_image(tmp_path / "clips" / "images" / f"{number}.png", view)
    output = tmp_path / "figures.json"
    command = [sys.executable, "benchmarks/real_clips.py", str(tmp_path / "clips"), "--output", str(output)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "3 clips measured, 0 unreadable" in result.stdout, result.stderr[-2000:]
    written = json.loads(output.read_text())
    assert set(written["refused"]) == {"still"}
    for name in ("moving", "images"):
        row = written["clips"][name]
        assert all(math.isfinite(value) for value in row.values())
        assert row["order"] == 1 and row["copy_psnr"] > 20 and row["rotation"] < 5 and row["f_score"] > 0.3
