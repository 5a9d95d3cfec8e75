"""An extraction that is killed at random moments and started again ends with the very moments of an undisturbed one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_networks import tiny_generator, tiny_network

from vist3a.data.clip_store import write_clip
from vist3a.records import Clip

SPLITS = {"fit": 40, "selection": 4, "heldout": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Small networks and clips on disk."""
    tiny_generator(dtype=torch.float32).vae.save_pretrained(tmp_path / "generator" / "vae")
    tiny_network(dtype=torch.float32).save_pretrained(tmp_path / "reconstruction")
    rows = []
    for split, count in SPLITS.items():
        for i in range(count):
            name = f"{split}-{i}"
            random = torch.Generator().manual_seed(len(rows))
            path = write_clip(tmp_path / "clips", Clip(name, torch.rand(9, 3, 16, 16, generator=random)))
            rows.append({"name": name, "split": split, "sha256": _sha256(path)})
    columns = ("source", "caption", "frames", "height", "width", "first", "stride", "sharpness", "brightness", "motion")
    pd.DataFrame([row | dict.fromkeys(columns, "") for row in rows]).to_parquet(tmp_path / "clip_index.parquet")
    return tmp_path


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_five_kills_do_not_change_a_bit(root: Path) -> None:
    driver = Path(__file__).with_name("kill_driver.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(driver), str(root), "3"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    kills = [line.split() for line in done.stdout.splitlines()]
    assert [ended for ended, _ in kills] == ["killed"] * 5
    assert 0 < int(kills[-1][1]) < sum(SPLITS.values())
    for split in ("fit", "selection"):
        whole, killed = (load_file(root / name / f"{split}.safetensors") for name in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        assert all(torch.equal(killed[key], value) for key, value in whole.items())
    assert (root / "killed" / "tap.json").read_text() == (root / "whole" / "tap.json").read_text()
    # Nothing of the unfinished state is left.
    assert not [*root.rglob("checkpoints-*/**/*.safetensors")]
