"""``vist3a.load`` says what is missing, and costs nothing until it is used."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

import vist3a

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_folder_without_a_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no vist3a project: it has no conf/base"):
        vist3a.load(tmp_path)


def test_a_project_without_networks_says_what_makes_them(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    with pytest.raises(FileNotFoundError, match=r"stitched_decoder is missing; `make stitch` in .* makes it"):
        vist3a.load(tmp_path)
    with pytest.raises(ValueError, match="unknown parameter group 'generator'; allowed: align, "):
        vist3a.load(tmp_path, parameters={"generator": {"steps": 3}})
    with pytest.raises(ValueError, match="stepps"):
        vist3a.load(tmp_path, parameters={"generate": {"stepps": 3}})


def test_the_package_alone_loads_nothing() -> None:
    program = "import sys, vist3a; print([n for n in ('torch', 'kedro', 'mlflow') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vist3a.nothing


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")  # of diffusers
def test_a_public_pairing_gets_as_far_as_its_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing stands in the way but the weights: they are named, and their licence is told."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(FileNotFoundError, match=r"Wan-AI/Wan2.1-T2V-1.3B-Diffusers") as refused,
    ):
        vist3a.load(tmp_path, pair="wan+vggt", parameters={"networks": {"device": "cpu"}})
    assert "\n" not in str(refused.value)
    assert any("wan-1.3b: licence Apache-2.0" in message for message in caplog.messages)
    networks = {"device": "cpu", "commercial": True}
    with pytest.raises(PermissionError, match=r"svd-xt: their licence .* permits no commercial use"):
        vist3a.load(tmp_path, pair="svd+vggt", parameters={"networks": networks, "generate": {"aligned": False}})
