"""Errors against scenes that are known exactly: each by its own definition, and summed up over scenes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gaussian_cases import some_gaussians
from scipy.spatial.transform import Rotation

from vist3a.geometry.normalisation import normalise_scene
from vist3a.geometry.projection import unproject_depth
from vist3a.metrics.aggregate import bootstrap_interval
from vist3a.metrics.depth import depth_errors
from vist3a.metrics.exact_scenes import compare_with_truth, rendered_views, scene_errors
from vist3a.metrics.image import psnr
from vist3a.metrics.pose import pair_errors, trajectory_error
from vist3a.records import Cameras, ExactScenes, Reconstruction
from vist3a.rendering.cpu import CpuRenderer

HEIGHT, WIDTH, GIVEN = 12, 16, 3


def scene(seed: int) -> ExactScenes:
    """Five views of random depth, of which three are given."""
    random = np.random.default_rng(seed)
    pose = np.tile(np.eye(4), (1, 5, 1, 1))
    pose[0, :, :3, :3] = Rotation.from_rotvec(0.1 * random.normal(size=(5, 3))).as_matrix()
    pose[0, :, :3, 3] = 0.2 * random.normal(size=(5, 3))
    k = torch.tensor([[14.0, 0, 8], [0, 15.0, 6], [0, 0, 1]], dtype=torch.float64).expand(1, 5, 3, 3)
    depth = torch.from_numpy(random.uniform(2, 4, (1, 5, HEIGHT, WIDTH)))
    rgb = torch.from_numpy(random.uniform(size=(1, 5, 3, HEIGHT, WIDTH)))
    return ExactScenes(rgb, depth, Cameras(torch.from_numpy(pose), k), ("a",), GIVEN)


def reconstruction(of: ExactScenes, seed: int, unit: float = 1.0) -> Reconstruction:
    """The truth of the given views with errors of its own, in a unit of its own."""
    random = np.random.default_rng(100 + seed)
    cameras, depth, _ = normalise_scene(of.cameras, of.depth, frames=of.frames)
    pose = cameras[:, :GIVEN].world_to_camera.clone()
    turns = torch.from_numpy(Rotation.from_rotvec(0.05 * random.normal(size=(3, 3))).as_matrix())
    pose[0, :, :3, :3] = turns @ pose[0, :, :3, :3]
    pose[0, :, :3, 3] += 0.05 * torch.from_numpy(random.normal(size=(3, 3)))
    pose[..., :3, 3] *= unit
    seen_by = Cameras(pose, cameras[:, :GIVEN].intrinsics)
    depth = unit * depth[:, :GIVEN] * torch.from_numpy(random.uniform(0.8, 1.3, (1, GIVEN, HEIGHT, WIDTH)))
    g = some_gaussians(1, 40, seed).to(dtype=torch.float64)
    g = replace(
        g,
        means=unit * (0.3 * g.means + torch.tensor([0.0, 0.0, 1.0])),
        scales=unit * 5 * g.scales,
        harmonics=3 * g.harmonics,
    )
    ones = torch.ones_like(depth)
    return Reconstruction(seen_by, depth, ones, unproject_depth(depth, seen_by), ones, gaussians=g)


@pytest.mark.parametrize("unit", [1.0, 0.4])
def test_errors_of_a_scene_are_those_of_their_definitions(unit: float) -> None:
    of = scene(1)
    output, render = reconstruction(of, 1, unit), CpuRenderer()
    errors, image = scene_errors(output, of, render)
    cameras, depth, _ = normalise_scene(of.cameras, of.depth, frames=GIVEN)
    true = depth[:, :GIVEN]
    whole = depth_errors(output.depth.flatten(1, 2), true.flatten(1, 2))
    assert errors["depth_absrel"] == pytest.approx(float(whole.abs_rel))
    assert errors["rotation_deg"] == pytest.approx(
        float(pair_errors(output.cameras, cameras[:, :GIVEN]).rotation.sort().values[0, 1])
    )
    assert errors["translation_relative"] == pytest.approx(float(trajectory_error(output.cameras, cameras[:, :GIVEN])))
    ratio = (output.depth / true).flatten().sort().values[(true.numel() - 1) // 2]
    pose = cameras[:, GIVEN:].world_to_camera.clone()
    pose[..., :3, 3] *= ratio
    assert output.gaussians is not None
    raw = render(output.gaussians, Cameras(pose, cameras[:, GIVEN:].intrinsics), (HEIGHT, WIDTH)).rgb
    assert float(raw.max()) > 1 and image.shape == (1, 2, 3, HEIGHT, WIDTH)
    torch.testing.assert_close(image, raw.clamp(0, 1))
    assert errors["nvs_psnr"] == pytest.approx(float(psnr(raw.clamp(0, 1), of.rgb[:, GIVEN:]).mean()))
    with pytest.raises(ValueError, match="novel views need a reconstruction network with a Gaussian head"):
        rendered_views(replace(output, gaussians=None), of.cameras, render, (HEIGHT, WIDTH))


def test_scenes_are_summed_up_by_mean_median_and_interval() -> None:
    scenes, render = [scene(seed) for seed in range(4)], CpuRenderer()
    seen: list[torch.Tensor] = []
    numbers = iter(range(8))

    def made(frames: torch.Tensor) -> Reconstruction:
        seen.append(frames)
        number = next(numbers)
        return reconstruction(scenes[number // 2], number)

    found = compare_with_truth({"one": made, "other": made}, scenes, render, seed=3)
    assert [torch.equal(frames, scenes[i // 2].rgb[:, :GIVEN]) for i, frames in enumerate(seen)] == [True] * 8
    for place, name in enumerate(("one", "other")):
        rows = [scene_errors(reconstruction(scenes[i], 2 * i + place), scenes[i], render)[0] for i in range(4)]
        assert found[name].keys() == rows[0].keys()
        for error, told in found[name].items():
            values = [row[error] for row in rows]
            low, high = bootstrap_interval(values, 3)
            expected = {"mean": np.mean(values), "median": np.median(values), "low": low, "high": high}
            assert told == pytest.approx(expected), error
