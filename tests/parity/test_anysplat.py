"""AnySplat against the stored outputs of the reference implementation, and its entry in the manner of VIST3A."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parity_cases import (
    Case,
    check,
    check_activations,
    check_layout,
    entry_points,
    error,
    exact_state,
    load_case,
    quaternion_error,
    require,
    trunk_sizes,
)
from torch import Tensor

from vist3a.geometry.quaternion import rotation_from_quaternion, xyzw_from_wxyz
from vist3a.networks.anysplat import ANYSPLAT, AnySplat, AnySplatConfig
from vist3a.networks.blocks.voxelize import voxelize
from vist3a.records import Gaussians, Reconstruction

QUATERNION_BOUND = 3e-5


@pytest.fixture(scope="module")
def case(parity_root: Path) -> Case:
    return load_case(parity_root, "anysplat")


@pytest.fixture
def network(case: Case) -> AnySplat:
    config = AnySplatConfig(
        **trunk_sizes(case.config, "depth_head"),
        gs_features=case.config["gs_head"]["features"],
        gs_channels=tuple(case.config["gs_head"]["out_channels"]),
        sh_degree=case.config["sh_degree"],
        voxel_size=case.config["voxel_size"],
    )
    network = AnySplat(config).eval()
    network.load_public_state_dict({f"encoder.{key}": value for key, value in case.weights.items()})
    return network


def gaussian_outputs(gaussians: Gaussians) -> dict[str, Tensor]:
    half = rotation_from_quaternion(gaussians.rotations) * gaussians.scales[..., None, :]
    return {
        "means": gaussians.means,
        "covariances": half @ half.transpose(-1, -2),
        "harmonics": gaussians.harmonics.transpose(-1, -2),
        "opacities": gaussians.opacities,
        "scales": gaussians.scales,
    }


def outputs(result: Reconstruction) -> dict[str, Tensor]:
    assert result.gaussians is not None
    assert result.gaussian_features is not None
    assert result.gaussian_confidence is not None
    height, width = result.depth.shape[-2:]
    pixels = torch.tensor([width, height, 1.0])[:, None]
    found = {
        "pose_enc_list": result.pose_encodings,
        "pose_enc": result.pose_encodings[-1],
        "context_extrinsic_c2w": result.cameras.camera_to_world,
        "context_intrinsic_normalized": result.cameras.intrinsics / pixels,
        "depth": result.depth[..., None],
        "depth_conf": result.depth_confidence,
        "points_map": result.points,
        "scene_scale": result.points.norm(dim=-1).mean()[None],
        "gs_head_raw": torch.cat([result.gaussian_features, result.gaussian_confidence[:, :, None]], dim=2),
    }
    return found | {f"gaussians.{key}": value for key, value in gaussian_outputs(result.gaussians).items()}


def test_every_output_matches(network: AnySplat, case: Case) -> None:
    with torch.no_grad():
        result = network.reconstruct(case.frames)
    found = outputs(result)
    assert result.gaussians is not None
    counts = case.io["out.num_voxels"].tolist()
    assert result.gaussians.means.shape[1] == max(counts)
    stored = {key for key in case.io if key.startswith("out.")}
    assert stored - {"out.num_voxels", "out.gaussians.rotations"} <= {f"out.{key}" for key in found}
    check({key: value for key, value in found.items() if not key.startswith("gaussians.")}, case.io, "out.")
    for scene, count in enumerate(counts):
        valid = {key: value[scene, :count] for key, value in found.items() if key.startswith("gaussians.")}
        check(valid, {key: case.io[f"out.{key}"][scene, :count] for key in valid if f"out.{key}" in case.io}, "")
        turned = xyzw_from_wxyz(result.gaussians.rotations[scene, :count])
        assert quaternion_error(turned, case.io["out.gaussians.rotations"][scene, :count]) <= QUATERNION_BOUND
        padding = result.gaussians.select(scene, torch.arange(max(counts)) >= count)
        assert bool((padding.opacities == 0).all())


def test_one_gaussian_per_pixel_matches(network: AnySplat, case: Case) -> None:
    stored = [key for key in case.io if key.startswith("pixelwise.")]
    require(stored, "run without voxels")
    network.voxel_size = None
    with torch.no_grad():
        gaussians = network.reconstruct(case.frames).gaussians
    assert gaussians is not None
    compared = check(gaussian_outputs(gaussians), case.io, "pixelwise.out.gaussians.")
    assert compared == len(stored) - 1
    rotations = case.io["pixelwise.out.gaussians.rotations"]
    assert quaternion_error(xyzw_from_wxyz(gaussians.rotations), rotations) <= QUATERNION_BOUND
    assert error(gaussians.means, case.io["out.points_map"].flatten(1, 3)) <= 1e-5


def test_every_stored_activation_matches(network: AnySplat, case: Case) -> None:
    require((key for key in case.io if key.startswith("act.")), "activations")
    assert check_activations(network, case) > 0


def test_exact_entry_matches(network: AnySplat, case: Case) -> None:
    network.voxel_size = None
    runs = entry_points(case.entry)
    require(runs, "exact entries")
    for run, (point, tokens) in runs.items():
        state = exact_state(network, point, tokens, case.frames)
        with torch.no_grad():
            result = network.reconstruct_from(state, tuple(case.frames.shape[-2:]), rgb=case.frames)
        stored = [key for key in case.entry if key.startswith(f"{run}.out.")]
        assert check(outputs(result), case.entry, f"{run}.out.") == len(stored) > 0


@pytest.mark.parametrize("dropped", [False, True])
def test_released_entry_matches(network: AnySplat, case: Case, dropped: bool) -> None:
    network.voxel_size = None
    runs = {key.split(".")[0] for key in case.entry if key.endswith(".vist3a.latent")}
    require(runs, "entries in the manner of VIST3A")
    first_block = case.config["stitch_k"]
    if dropped:
        network.drop_before(f"encoder.{first_block - 1:02d}", keep_embedding=True)
    for run in runs:
        tokens = case.entry[f"{run}.vist3a.latent"].permute(0, 2, 3, 4, 1)
        rgb = (case.entry[f"{run}.vist3a.image_m1_p1"].transpose(1, 2) + 1) / 2
        with torch.no_grad():
            result = network.reconstruct_released(tokens, first_block, tuple(rgb.shape[-2:]), rgb)
        stored = [key for key in case.entry if key.startswith(f"{run}.out.")]
        assert check(outputs(result), case.entry, f"{run}.out.") == len(stored) > 0


def test_voxelisation_alone_matches(case: Case) -> None:
    require((key for key in case.entry if key.startswith("voxel.")), "voxelisation alone")
    points = case.entry["voxel.in.points"].permute(0, 2, 3, 1).flatten(0, 2)
    features = case.entry["voxel.in.features"].permute(0, 2, 3, 1).flatten(0, 2)
    confidence = case.entry["voxel.in.conf"].flatten()
    found = voxelize(points, features, confidence, float(case.entry["voxel.in.voxel_size"]))
    check(dict(zip(("points", "features"), found, strict=True)), case.entry, "voxel.out.")


def test_full_size_layout_is_the_published_one(case: Case) -> None:
    with torch.device("meta"):
        network = AnySplat(ANYSPLAT)
    check_layout(network, case.folder / "layout_anysplat.json", prefix="encoder.")


def test_distillation_copies_of_a_public_file_are_ignored(network: AnySplat, case: Case) -> None:
    copies = {f"encoder.distill_{key}": value for key, value in case.weights.items()}
    state = {f"encoder.{key}": value for key, value in case.weights.items()} | copies
    fresh = AnySplat(replace(network.config))
    fresh.load_public_state_dict(state)
    assert all(torch.equal(value, case.weights[key]) for key, value in fresh.state_dict().items())
