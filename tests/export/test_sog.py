"""SOG: the pictures by the published description of the format, and the same picture off the path when others read the file."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from gaussian_cases import assert_same_rotations, some_gaussians
from npm_tools import splat_transform
from PIL import Image
from scene_cases import coloured_gaussians
from test_usd import picture

from vist3a import registry
from vist3a.export.ply import load_gaussians
from vist3a.export.sog import save_sog
from vist3a.metrics.image import psnr
from vist3a.records import Gaussians


def of_degree(bands: int) -> Gaussians:
    """Colored splats with so many bands."""
    made = coloured_gaussians()
    harmonics = torch.zeros(1, made.means.shape[1], bands, 3)
    kept = min(bands, made.harmonics.shape[2])
    harmonics[:, :, :kept] = made.harmonics[:, :, :kept]
    return replace(made, harmonics=harmonics)


def read_by_hand(path: Path) -> tuple[Gaussians, dict[str, Any]]:
    """What developer.playcanvas.com says of version 2, sections 2 and 3; and ``meta.json``."""
    with ZipFile(path) as archive:
        meta = json.loads(archive.read("meta.json"))

        def pixels(name: str) -> np.ndarray:
            return np.array(Image.open(io.BytesIO(archive.read(name))).convert("RGBA")).astype(np.int64)

        def rows(key: str, which: int = 0) -> np.ndarray:
            return pixels(meta[key]["files"][which]).reshape(-1, 4)[: meta["count"]]

        share = (rows("means", 0) + 256 * rows("means", 1))[:, :3] / 65535
        low, high = (np.array(meta["means"][key]) for key in ("mins", "maxs"))
        logarithm = low + share * (high - low)
        three, mode = rows("quats")[:, :3], rows("quats")[:, 3] - 252
        three = (three / 255 - 0.5) * np.sqrt(2)
        rotations = np.zeros((meta["count"], 4))
        for row, (values, largest) in enumerate(zip(three, mode, strict=True)):
            rotations[row] = np.insert(values, largest, np.sqrt(max(0, 1 - (values**2).sum())))
        harmonics = [np.array(meta["sh0"]["codebook"])[rows("sh0")[:, :3]][:, None]]
        if "shN" in meta:
            count = {1: 3, 2: 8, 3: 15}[meta["shN"]["bands"]]
            table, label = pixels(meta["shN"]["files"][0])[..., :3], rows("shN", 1)
            label = label[:, 0] + 256 * label[:, 1]
            columns = (label % 64)[:, None] * count + np.arange(count)
            harmonics.append(np.array(meta["shN"]["codebook"])[table[(label // 64)[:, None], columns]])
        tensors = {
            "means": np.sign(logarithm) * np.expm1(np.abs(logarithm)),
            "scales": np.exp(np.array(meta["scales"]["codebook"])[rows("scales")[:, :3]]),
            "rotations": rotations,
            "opacities": rows("sh0")[:, 3] / 255,
            "harmonics": np.concatenate(harmonics, 1),
        }
    return Gaussians(**{key: torch.from_numpy(value).float()[None] for key, value in tensors.items()}), meta


@pytest.mark.parametrize("bands", [1, 4, 9, 16])
def test_the_pictures_hold_the_splats(bands: int, tmp_path: Path) -> None:
    gaussians = of_degree(bands)
    save_sog(tmp_path / "a.sog", gaussians, ["axes: x right"])
    read, meta = read_by_hand(tmp_path / "a.sog")
    assert meta["version"] == 2 and meta["asset"]["comments"] == ["axes: x right"]
    assert read.harmonics.shape == gaussians.harmonics.shape
    assert float(psnr(picture(read), picture(gaussians)).mean()) > 32


@pytest.mark.parametrize("bands", [1, 4, 16])
def test_splat_transform_sees_the_same_off_the_path(bands: int, tmp_path: Path) -> None:
    """Of PlayCanvas, whose format it is."""
    gaussians = of_degree(bands)
    save_sog(tmp_path / "ours.sog", gaussians, ["axes: x right"])
    splat_transform(tmp_path / "ours.sog", tmp_path / "theirs.ply")
    read = load_gaussians(tmp_path / "theirs.ply")
    assert read.means.shape == gaussians.means.shape and read.harmonics.shape[2] == bands
    assert float(psnr(picture(read), picture(gaussians)).mean()) > 32


def test_each_value_is_what_it_was_to_a_step(tmp_path: Path) -> None:
    """In any order: means to 16 bits of the logarithm, opacities and components of rotations to 8, others to 256 found values."""
    made = some_gaussians(4, 300)
    opacities, scales = made.opacities.clone(), made.scales.clone()
    opacities[0, :3], scales[0, :3, 1] = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.01, 0.03, 0.02])
    gaussians = replace(made, opacities=opacities.requires_grad_(), scales=scales.requires_grad_())
    save_sog(tmp_path / "a.sog", gaussians)
    read, meta = read_by_hand(tmp_path / "a.sog")
    assert meta["asset"]["comments"] == []
    places = read.means[0, :, None] - gaussians.means[0]
    order = places.abs().sum(-1).argmin(1)
    assert sorted(order.tolist()) == list(range(300))
    true = gaussians.detach().select(0, order)
    step = (true.means.abs().log1p().max() * 2) / 65535
    assert ((read.means - true.means).abs() <= 1.01 * step * (1 + true.means.abs())).all()
    # Neither nothing nor all of the light: the values between.
    assert (read.opacities - true.opacities.clamp(1 / 255, 254 / 255)).abs().max() <= 0.51 / 255
    assert_same_rotations(read.rotations, true.rotations, 1e-4)
    assert (read.scales.log() - true.scales.log()).abs().max() < 0.05
    assert (read.harmonics - true.harmonics).abs().max() < 0.02


def test_files_are_the_same_for_the_same_splats_and_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_sog(tmp_path / f"{name}.sog", some_gaussians(25, 200), ["unit: meter"])
    assert (tmp_path / "a.sog").read_bytes() == (tmp_path / "b.sog").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sog", "b.sog"]
    # Degree 4 has no place in the format.
    assert read_by_hand(tmp_path / "a.sog")[0].harmonics.shape[2] == 16


def test_what_cannot_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"x\.sog was not written: SOG files hold at least one Gaussian"):
        save_sog(tmp_path / "x.sog", coloured_gaussians().select(0, torch.zeros(0).long()))
    broken = replace(some_gaussians(1), means=torch.full((1, 30, 3), torch.nan))
    with pytest.raises(ValueError, match=r"x\.sog was not written: 90 values"):
        save_sog(tmp_path / "x.sog", broken)

    class Refusing:
        def convert(self, *_: object) -> dict[str, str]:
            return {"error": "too many"}

    monkeypatch.setattr("gaussforge.GaussForge", Refusing)
    with pytest.raises(ValueError, match=r"x\.sog was not written: gaussforge says 'too many'"):
        save_sog(tmp_path / "x.sog", some_gaussians(1))
    assert list(tmp_path.iterdir()) == []


def test_it_is_an_exporter_with_the_axes_of_the_target(tmp_path: Path) -> None:
    exporter = registry.find("exporters", "sog")
    assert exporter.name == "gaussians.sog" and exporter.told and not exporter.own_axes
