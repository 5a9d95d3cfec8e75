"""Errors of exact and of knowingly wrong reconstructions, and the orders of views."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gaussian_cases import some_gaussians
from tiny_networks import tiny_generator, tiny_network

from vist3a.data.ordering import fill_frames, order_views
from vist3a.data.view_distance import picture_distance
from vist3a.geometry.projection import unproject_depth
from vist3a.metrics.image import psnr
from vist3a.records import Cameras, Reconstruction
from vist3a.records.frame_count import any_frames, causal_frames
from vist3a.rendering import renderer_for
from vist3a.stitching.functional_error import sequential
from vist3a.stitching.sequential import SequentialDecoder
from vist3a.stitching.unordered import reconstruct_unordered, restored
from vist3a_lab.claims.errors import Truth, geometry_errors, novel_view_errors, novel_view_split
from vist3a_lab.claims.measurements import fixed_order
from vist3a_lab.procedural import WorldConfig, make_world

causal = causal_frames(4)
WORLD = WorldConfig(seed=5, frames=5, height=32, width=32, supersample=1)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth.of(make_world(WORLD, [0], dtype=torch.float64))


def exact(truth: Truth, scale: float = 1.0) -> Reconstruction:
    """The truth in another unit and seen from its second camera."""
    pose = truth.cameras.world_to_camera @ truth.cameras.camera_to_world[:, 1:2]
    pose = torch.cat([pose[..., :3, :3], scale * pose[..., :3, 3:]], -1)
    pose = torch.cat([pose, truth.cameras.world_to_camera[..., 3:, :]], -2)
    cameras, depth = Cameras(pose, truth.cameras.intrinsics), scale * truth.depth
    ones = torch.ones_like(depth)
    points = unproject_depth(depth, cameras)
    return Reconstruction(cameras, depth, ones, points, ones, torch.zeros(1, 1, depth.shape[1], 9, dtype=depth.dtype))


@pytest.mark.parametrize("icp", [False, True])
def test_the_truth_has_no_errors_in_any_world_and_unit(truth: Truth, icp: bool) -> None:
    errors = geometry_errors(exact(truth, 0.3), truth, pixel_step=4, icp=icp)
    for name in ("depth_delta_125", "f_score", "rra_5", "rta_5", "auc_30", "normals"):
        assert errors.pop(name) == pytest.approx(1, abs=1e-6), name
    assert all(value == pytest.approx(0, abs=1e-5) for value in errors.values()), errors


def test_permuted_views_are_worse_until_they_are_put_back(truth: Truth) -> None:
    order = fixed_order([3, 1, 4, 0, 2])
    right = exact(truth)
    shuffled = restored(right, replace(order, places=order.sequence))
    assert geometry_errors(shuffled, truth, 4)["points"] > 0.05
    assert geometry_errors(restored(shuffled, order), truth, 4)["points"] == pytest.approx(0, abs=1e-6)


def test_twelve_views_are_eight_sources_and_four_targets_in_order() -> None:
    for views in (12, 13):
        assert novel_view_split(views) == ([0, 2, 3, 5, 6, 8, 9, 11], [1, 4, 7, 10])
    assert fill_frames((0, 2, 3, 5, 6, 8, 9, 11), causal) == (0, 2, 3, 5, 6, 8, 9, 11, 11)
    assert fill_frames((0, 2), causal) == (0, 2, 2, 2, 2) and fill_frames((4,), causal) == (4,)
    assert fill_frames((0, 2), causal_frames(8)) == (0, *[2] * 8) and fill_frames((0, 2), any_frames) == (0, 2)
    with pytest.raises(ValueError, match="3 views; the generator takes at most 2 frames"):
        fill_frames((0, 1, 2), lambda frames: min(frames, 2))
    with pytest.raises(ValueError, match="2 views; novel views need at least 3"):
        novel_view_split(2)


def test_novel_views_are_seen_from_the_true_cameras_in_the_unit_of_the_prediction(truth: Truth) -> None:
    """A scene in another unit gives the same picture; the figure is the PSNR of a direct rendering."""
    gaussians = some_gaussians(1, count=40).to(dtype=torch.float64)
    gaussians = replace(gaussians, means=gaussians.means + torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    render = renderer_for(torch.device("cpu"))
    sources, targets = novel_view_split(5)
    found = []
    for scale in (1.0, 0.5):
        depth = scale * truth.depth[:, list(fill_frames(tuple(sources), causal))]
        output = replace(
            exact(truth),
            depth=depth,
            gaussians=replace(gaussians, means=scale * gaussians.means, scales=scale * gaussians.scales),
        )
        found.append(novel_view_errors(output, truth, render, causal)["nvs_psnr"])
    seen = render(gaussians, truth.cameras[:, targets], (32, 32)).rgb.clamp(0, 1)
    assert found[0] == pytest.approx(float(psnr(seen, truth.frames[:, targets]).mean()), rel=1e-5)
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    with pytest.raises(ValueError, match="Gaussian head"):
        novel_view_errors(exact(truth), truth, render, causal)


def test_the_unit_of_novel_views_is_that_of_the_views_that_were_given(truth: Truth) -> None:
    """Targets lie much further away than sources here: with the depth of other views the scene would have another unit."""
    sources, targets = novel_view_split(5)
    depth = truth.depth.clone()
    depth[:, targets] *= 3
    depth[:, 3:] *= 3  # given by nobody
    gaussians = some_gaussians(1, count=40).to(dtype=torch.float64)
    gaussians = replace(gaussians, means=gaussians.means + torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    output = replace(exact(truth), depth=truth.depth[:, list(fill_frames(tuple(sources), causal))], gaussians=gaussians)
    render = renderer_for(torch.device("cpu"))
    found = novel_view_errors(output, replace(truth, depth=depth), render, causal)
    seen = render(gaussians, truth.cameras[:, targets], (32, 32)).rgb.clamp(0, 1)
    assert found["nvs_psnr"] == pytest.approx(float(psnr(seen, truth.frames[:, targets]).mean()), rel=1e-5)


def test_all_views_of_a_scene_have_one_scale_of_depth(truth: Truth) -> None:
    """Each view alone in another unit is wrong, though every single one could be scaled right."""
    right = exact(truth)
    factors = torch.tensor([0.5, 1.0, 1.0, 1.0, 2.0], dtype=torch.float64).view(1, 5, 1, 1)
    errors = geometry_errors(replace(right, depth=right.depth * factors), truth, pixel_step=4)
    prediction, target = (right.depth * factors).flatten(), truth.depth.flatten()
    scaled = prediction * (target.quantile(0.5) / prediction.quantile(0.5))
    assert errors["depth_absrel"] == pytest.approx(float(((scaled - target).abs() / target).mean()), rel=1e-9)
    assert errors["depth_absrel"] > 0.2 and errors["depth_delta_125"] < 0.7


def test_unordered_views_are_reconstructed_as_a_smooth_sequence_and_given_back() -> None:
    """A network that numbers its inputs: every view gets its place of the sequence, which is the true order or its reverse."""
    frames = make_world(WorldConfig(seed=5, frames=8, height=32, width=32, supersample=1), [0]).rgb
    order = fixed_order([5, 2, 7, 0, 3, 6, 1, 4])
    lengths = []

    def numbering(views: torch.Tensor) -> Reconstruction:
        lengths.append(views.shape[1])
        place = torch.arange(views.shape[1], dtype=views.dtype)
        maps = place[None, :, None, None].expand(1, -1, 4, 4)
        pose = place[None, :, None, None] * torch.eye(4)
        cameras = Cameras(pose, pose[..., :3, :3])
        return Reconstruction(
            cameras, maps, maps, maps[..., None].expand(-1, -1, -1, -1, 3), maps, place[None, None, :, None].expand(1, 1, -1, 9)
        )  # fmt: skip

    output = reconstruct_unordered(numbering, order.arrange(frames, dim=1), causal)
    assert lengths == [9]
    for found in (output.depth[0, :, 0, 0], output.points[0, :, 0, 0, 2], output.cameras.intrinsics[0, :, 1, 1],
                  output.pose_encodings[0, 0, :, 3]):  # fmt: skip
        places = order.restore(found).int().tolist()
        assert places in ([0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0])
    assert order_views(picture_distance(frames[0]), causal).sequence == (*range(8), 7)


def test_the_sequential_decoder_is_the_baseline_and_sees_no_latents() -> None:
    generator, network = tiny_generator(), tiny_network()
    frames = torch.rand(1, 5, 3, 16, 16, dtype=torch.float64)
    latents = generator.encode(frames)
    output = SequentialDecoder(network)(torch.zeros_like(latents), (16, 16), rgb=generator.decode(latents))
    torch.testing.assert_close(output.depth, sequential(network, generator)(frames).depth)
    with pytest.raises(ValueError, match="16, 8"):
        SequentialDecoder(network)(latents, (16, 8), rgb=frames)
