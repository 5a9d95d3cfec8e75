"""PLY round trips, layout, and refusal of broken data."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from gaussian_cases import some_gaussians
from plyfile import PlyData, PlyElement

from vist3a.export.ply import load_gaussians, load_point_cloud, save_gaussians, save_point_cloud
from vist3a.records import Gaussians


@pytest.mark.parametrize("bands", [1, 4, 9, 16, 25])
def test_gaussians_come_back(tmp_path: Path, bands: int) -> None:
    gaussians = some_gaussians(bands)
    save_gaussians(tmp_path / "new" / "scene.ply", gaussians)
    read = load_gaussians(tmp_path / "new" / "scene.ply")
    for field in fields(gaussians):
        torch.testing.assert_close(getattr(read, field.name), getattr(gaussians, field.name), rtol=1e-5, atol=1e-6)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["scene.ply"]


def test_layout_is_that_of_the_original_code(tmp_path: Path) -> None:
    gaussians = some_gaussians(4)
    save_gaussians(tmp_path / "scene.ply", gaussians)
    vertex = PlyData.read(str(tmp_path / "scene.ply"))["vertex"]
    expected = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(9))]
    expected += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert [p.name for p in vertex.properties] == expected
    harmonics = gaussians.harmonics[0].numpy()
    for channel in range(3):
        np.testing.assert_array_equal(vertex[f"f_dc_{channel}"], harmonics[:, 0, channel])
        for band in range(3):
            np.testing.assert_array_equal(vertex[f"f_rest_{3 * channel + band}"], harmonics[:, 1 + band, channel])
    opacity = gaussians.opacities[0].numpy()
    np.testing.assert_allclose(vertex["opacity"], np.log(opacity / (1 - opacity)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(vertex["scale_1"], np.log(gaussians.scales[0, :, 1].numpy()), rtol=1e-5)
    np.testing.assert_allclose(vertex["rot_0"], gaussians.rotations[0, :, 0].numpy(), rtol=1e-5)


def test_extremes_stay_finite(tmp_path: Path) -> None:
    g = some_gaussians(1, 3)
    opacities = torch.tensor([[0.0, 1.0, 0.5]])
    save_gaussians(tmp_path / "scene.ply", Gaussians(g.means, 0 * g.scales, 0 * g.rotations, opacities, g.harmonics))
    read = load_gaussians(tmp_path / "scene.ply")
    assert all(torch.isfinite(getattr(read, f.name)).all() for f in fields(read))
    torch.testing.assert_close(read.opacities, opacities, atol=2e-6, rtol=0)
    assert (read.rotations == torch.tensor([1.0, 0, 0, 0])).all()


def test_broken_gaussians_leave_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "scene.ply"
    good = some_gaussians(1)
    save_gaussians(path, good)
    before = path.read_bytes()
    means = good.means.clone()
    means[0, 3, 1] = torch.nan
    with pytest.raises(ValueError, match="1 values of its Gaussians are not finite"):
        save_gaussians(path, Gaussians(means, good.scales, good.rotations, good.opacities, good.harmonics))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    both = Gaussians(*(torch.cat([getattr(good, f.name)] * 2) for f in fields(good)))
    with pytest.raises(ValueError, match="one set"):
        save_gaussians(path, both)


def test_foreign_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    cloud = tmp_path / "cloud.ply"
    save_point_cloud(cloud, torch.rand(5, 3), torch.rand(5, 3))
    with pytest.raises(ValueError, match="holds no Gaussians: properties f_dc_0"):
        load_gaussians(cloud)
    noise = tmp_path / "noise.ply"
    noise.write_bytes(b"not a ply file at all\n")
    with pytest.raises(ValueError, match="not a readable PLY"):
        load_gaussians(noise)
    save_gaussians(tmp_path / "scene.ply", some_gaussians(1))
    with pytest.raises(ValueError, match="no coloured point cloud"):
        load_point_cloud(tmp_path / "scene.ply")
    # A mesh without points, as some programs leave behind.
    faces = PlyElement.describe(np.zeros(2, dtype=[("red", "u1")]), "face")
    PlyData([faces]).write(str(tmp_path / "faces.ply"))
    for load in (load_gaussians, load_point_cloud):
        with pytest.raises(ValueError, match=r"faces\.ply has no element 'vertex'"):
            load(tmp_path / "faces.ply")


def test_point_cloud_comes_back_filtered(tmp_path: Path) -> None:
    points, colors = torch.randn(4, 5, 3), torch.rand(4, 5, 3)
    confidence = torch.arange(20.0).reshape(4, 5) + 1
    points[3, 4, 0] = torch.inf
    path = tmp_path / "cloud.ply"
    assert save_point_cloud(path, points, colors, confidence, min_confidence=3.0, drop_fraction=0.25) == 14
    xyz, rgb, trust = load_point_cloud(path)
    assert trust is not None
    torch.testing.assert_close(trust, torch.arange(6.0, 20.0))
    torch.testing.assert_close(xyz, points.reshape(-1, 3)[5:19])
    torch.testing.assert_close(rgb, colors.reshape(-1, 3)[5:19], atol=0.5 / 255 + 1e-6, rtol=0)
    assert save_point_cloud(path, points[:3], colors[:3]) == 15
    assert load_point_cloud(path)[2] is None


def test_confidence_filters_need_a_confidence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only when a confidence is given"):
        save_point_cloud(tmp_path / "c.ply", torch.rand(5, 3), torch.rand(5, 3), drop_fraction=0.1)
    with pytest.raises(ValueError, match="drop_fraction"):
        save_point_cloud(tmp_path / "c.ply", torch.rand(5, 3), torch.rand(5, 3), torch.rand(5), drop_fraction=1.0)
