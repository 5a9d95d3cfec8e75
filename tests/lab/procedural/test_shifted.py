"""Shifted worlds keep exact geometry, change what they say and nothing else."""

from __future__ import annotations

import pytest
import torch

from vist3a.geometry.projection import unproject_depth
from vist3a_lab.procedural import WorldConfig, make_world
from vist3a_lab.procedural.layout import CAMERA_REACH
from vist3a_lab.procedural.shifted import SHIFTS, Shift, make_shifted

WORLD = WorldConfig(seed=5, frames=7, height=32, width=32, supersample=1)
INDICES = [0, 3, 4]
F64 = torch.float64


def test_no_shift_is_the_plain_world() -> None:
    plain = make_world(WORLD, INDICES)
    batch, given = make_shifted(WORLD, INDICES, Shift())
    assert torch.equal(given, plain.rgb) and torch.equal(batch.depth, plain.depth)
    assert torch.equal(batch.cameras.world_to_camera, plain.cameras.world_to_camera)


def angle(batch: object) -> torch.Tensor:
    focal = batch.cameras.intrinsics[:, 0, 1, 1]  # type: ignore[attr-defined]
    return 2 * torch.atan(16 / focal)


def test_a_lens_changes_the_angle_of_view_and_no_pose() -> None:
    plain = make_world(WORLD, INDICES, dtype=F64)
    batch, given = make_shifted(WORLD, INDICES, Shift(lens=1.4), dtype=F64)
    torch.testing.assert_close(angle(batch), 1.4 * angle(plain))
    assert torch.equal(batch.cameras.world_to_camera, plain.cameras.world_to_camera)
    assert (given - plain.rgb).abs().mean() > 0.01


def test_a_longer_path_turns_so_much_further_about_the_same_middle() -> None:
    plain = make_world(WORLD, range(12), dtype=F64)
    batch, _ = make_shifted(WORLD, range(12), Shift(path=2.0), dtype=F64)
    path = batch.scenes.path
    free = path.radius == plain.scenes.path.radius
    assert free.sum() >= 3
    middle = [one.cameras.world_to_camera[free, 3] for one in (batch, plain)]
    torch.testing.assert_close(*middle)

    def length(world: object) -> torch.Tensor:
        return world.cameras.centers.diff(dim=1).norm(dim=-1).sum(1)[free]  # type: ignore[attr-defined]

    assert bool((length(batch) > 1.8 * length(plain)).all())
    # All cameras stay inside the room.
    assert float(batch.cameras.centers[..., :2].norm(dim=-1).max()) < CAMERA_REACH + 0.2


@pytest.mark.parametrize("name", ["wide_lens", "narrow_lens", "long_path"])
def test_depth_is_exact_in_shifted_worlds(name: str) -> None:
    """A surface point of one view lies on the surface in the next view, or behind something: never in front of all surfaces."""
    batch, _ = make_shifted(WORLD, INDICES, SHIFTS[name], dtype=F64)
    points = unproject_depth(batch.depth, batch.cameras)[:, 2].flatten(1, 2)
    pose, intrinsics = batch.cameras.world_to_camera[:, 3], batch.cameras.intrinsics[:, 3]
    seen = points @ pose[:, :3, :3].transpose(1, 2) + pose[:, None, :3, 3]
    pixel = seen @ intrinsics.transpose(1, 2)
    place = (pixel[..., :2] / pixel[..., 2:]).floor().long()
    inside = ((place >= 0) & (place < 32)).all(-1) & (seen[..., 2] > 0)
    place = place.clamp(0, 31)
    scene = torch.arange(len(points))[:, None]
    surface = batch.depth[scene, 3, place[..., 1], place[..., 0]]
    ratio = (seen[..., 2] / surface)[inside]
    assert float(((ratio - 1).abs() < 0.03).double().mean()) > 0.8
    # Nothing lies far in front of the surface but for pixels at edges.
    assert float((ratio < 0.9).double().mean()) < 0.05


def test_exposure_scales_whole_frames_and_leaves_the_truth_alone() -> None:
    plain = make_world(WORLD, INDICES, dtype=F64)
    batch, given = make_shifted(WORLD, INDICES, Shift(exposure=0.3), dtype=F64)
    assert torch.equal(batch.rgb, plain.rgb) and torch.equal(batch.depth, plain.depth)
    dark = (plain.rgb > 0.05) & (given < 0.999)
    for scene in range(len(INDICES)):
        gains = []
        for frame in range(WORLD.frames):
            for channel in range(3):
                here = dark[scene, frame, channel]
                ratio = (given / plain.rgb)[scene, frame, channel][here]
                assert float(ratio.std()) < 1e-9, "one gain per frame and channel"
                gains.append(float(ratio.mean()))
        assert max(gains) - min(gains) > 0.005


def test_noise_of_pixels_has_its_size_and_depends_on_the_scene_alone() -> None:
    batch, given = make_shifted(WORLD, INDICES, Shift(pixel_noise=0.04), dtype=F64)
    middle = (batch.rgb > 0.2) & (batch.rgb < 0.8)
    assert float((given - batch.rgb)[middle].std()) == pytest.approx(0.04, rel=0.02)
    alone = make_shifted(WORLD, [3], Shift(pixel_noise=0.04), dtype=F64)[1]
    assert torch.equal(alone[0], given[1])
    assert not torch.equal(given[0] - batch.rgb[0], given[1] - batch.rgb[1])


@pytest.mark.parametrize(("name", "value"), [("lens", 0.0), ("path", -1.0), ("exposure", -0.1), ("pixel_noise", -0.1)])
def test_bad_shifts_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must"):
        Shift(**{name: value})
