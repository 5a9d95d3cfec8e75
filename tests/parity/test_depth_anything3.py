"""Depth Anything 3 against the stored outputs of the reference implementation.

``main``: as the small, base and large networks; ``gs``: as the giant one (SwiGLU blocks, Gaussian head).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import torch
from parity_cases import Case, check, check_layout, error, load_case, quaternion_error, require
from torch import Tensor

from vist3a.networks.blocks.da3_camera import scale_to
from vist3a.networks.blocks.da3_dual_head import UNUSED_RAY_LAYERS
from vist3a.networks.blocks.da3_reference import ReferenceStrategy
from vist3a.networks.blocks.image_norm import IMAGENET_MEAN, IMAGENET_STD, normalise_images
from vist3a.networks.depth_anything3 import (
    DA3_BASE,
    DA3_GIANT,
    DA3_LARGE,
    DA3_SMALL,
    DepthAnything3,
    DepthAnything3Config,
)
from vist3a.records import Cameras, Gaussians, Reconstruction, TokenState

QUATERNION_BOUND = 3e-5
OTHER_OUTPUTS = {"reference_view", "cam_token", "pose_scale"}
PUBLISHED = {"small": DA3_SMALL, "base": DA3_BASE, "large": DA3_LARGE, "giant": DA3_GIANT}


@dataclass(frozen=True)
class Setting:
    """A case, its network and its frames in [0, 1]."""

    case: Case
    network: DepthAnything3
    frames: Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.frames.shape[-2], self.frames.shape[-1]

    @property
    def known(self) -> Cameras:
        return Cameras(self.case.io["in.posed.extrinsics_w2c"], self.case.io["in.posed.intrinsics"])

    def point(self, block: int) -> str:
        return self.network.stitch_points[block].name


def scale_range(adapter: dict[str, float] | None) -> dict[str, float]:
    return {} if adapter is None else {f"scale_{end}": adapter[f"gaussian_scale_{end}"] for end in ("min", "max")}


@pytest.fixture(params=["main", "gs"])
def setting(request: pytest.FixtureRequest, parity_root: Path) -> Setting:
    case = load_case(parity_root, "depth_anything_3", f"{request.param}_")
    sizes = case.config
    config = DepthAnything3Config(
        img_size=sizes["img_size"],
        patch_size=sizes["patch_size"],
        embed_dim=sizes["embed_dim"],
        depth=sizes["depth"],
        num_heads=sizes["num_heads"],
        mlp="gelu" if sizes["ffn_layer"] == "mlp" else "swiglu",
        mlp_ratio=float(sizes["fixed"]["mlp_ratio"]),
        alt_start=sizes["alt_start"],
        qk_norm_start=sizes["qknorm_start"],
        rope_start=sizes["rope_start"],
        rope_base=float(sizes["fixed"]["rope_freq"]),
        taps=tuple(sizes["out_layers"]),
        camera_depth=sizes["cam_enc"]["trunk_depth"],
        camera_heads=sizes["cam_enc"]["num_heads"],
        dpt_features=sizes["features"],
        dpt_channels=tuple(sizes["out_channels"]),
        sh_degree=sizes["gs"] and sizes["gs"]["sh_degree"],
        reference_strategy=sizes["fixed"]["ref_view_strategy"],
        **scale_range(sizes["fixed"].get("gs_adapter")),
    )
    network = DepthAnything3(config).eval()
    network.load_public_state_dict({f"model.{key}": value for key, value in case.weights.items()})
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    # The frames were bfloat16 before they were normalised, so that this gives them back exactly.
    frames = (case.frames * std + mean).bfloat16().float()
    assert error(normalise_images(frames), case.frames) <= 1e-6
    return Setting(case, network, frames)


def outputs(result: Reconstruction) -> dict[str, Tensor]:
    assert result.rays is not None
    assert result.rays_confidence is not None
    found = {
        "depth": result.depth,
        "depth_conf": result.depth_confidence,
        "ray": result.rays,
        "ray_conf": result.rays_confidence,
        "pose_enc": result.pose_encodings[-1],
        "extrinsics_w2c": result.cameras.world_to_camera[..., :3, :],
        "intrinsics": result.cameras.intrinsics,
    }
    if result.gaussians is not None:
        assert result.gaussian_features is not None
        assert result.gaussian_confidence is not None
        found |= {
            "raw_gs": result.gaussian_features.movedim(2, -1),
            "raw_gs_conf": result.gaussian_confidence.sigmoid(),
            "gaussians.means": result.gaussians.means,
            "gaussians.scales": result.gaussians.scales,
            "gaussians.harmonics": result.gaussians.harmonics.transpose(-1, -2),
            "gaussians.opacities": result.gaussians.opacities,
        }
    return found


def check_run(result: Reconstruction, reference: dict[str, Tensor], prefix: str) -> None:
    """Every stored tensor under ``prefix`` that belongs to a reconstruction.

    Scales are compared by their magnitude: where the depth offset makes a depth negative, the published ones are negative, which
    is the same Gaussian as ours.
    """
    scales = f"{prefix}gaussians.scales"
    if scales in reference:
        reference = {**reference, scales: reference[scales].abs()}
    stored = {key.removeprefix(prefix) for key in reference if key.startswith(prefix)}
    require(stored, f"run {prefix}")
    rotations = "gaussians.rotations"
    others = {name for name in stored if name in OTHER_OUTPUTS or name.startswith("aux.")}
    assert check(outputs(result), reference, prefix) == len(stored - others - {rotations}) > 0
    if rotations in stored:
        assert isinstance(result.gaussians, Gaussians)
        assert quaternion_error(result.gaussians.rotations, reference[prefix + rotations]) <= QUATERNION_BOUND


def last_before_alternation(setting: Setting) -> int:
    return setting.network.config.alt_start - 1


def test_every_output_matches(setting: Setting) -> None:
    network, io = setting.network, setting.case.io
    exported = {f"aux.feat_layer_{block}": block for block in setting.case.config["export_feat_layers"]}
    names = [setting.point(block) for block in (*exported.values(), last_before_alternation(setting))]
    with torch.no_grad():
        taps, states = network.trunk(setting.frames, names)
        result = network.heads(taps, setting.size, setting.frames)
        features = {key: network.exported_features(states[setting.point(block)]) for key, block in exported.items()}
    check_run(result, io, "out.")
    reference = states[names[-1]].reference
    assert reference is not None
    assert torch.equal(reference, io.get("out.reference_view", reference))
    for key, block in exported.items():
        late = block >= last_before_alternation(setting)
        assert error(reordered(features[key], reference) if late else features[key], io[f"out.{key}"]) <= 1e-5


def reordered(values: Tensor, reference: Tensor) -> Tensor:
    """Views as the reference implementation orders them inside: each scene's reference view in front."""
    scenes = []
    for scene, first in zip(values, reference.tolist(), strict=True):
        scenes.append(scene[[first, *(view for view in range(len(scene)) if view != first)]])
    return torch.stack(scenes)


def test_every_stored_activation_matches(setting: Setting) -> None:
    network, io = setting.network, setting.case.io
    found: dict[str, Tensor] = {}
    hook = network.backbone.pretrained.blocks[0].register_forward_pre_hook(
        lambda _, args: found.update({"act.backbone.in": args[0]})
    )
    names = [point.name for point in network.stitch_points]
    with torch.no_grad():
        taps, states = network.trunk(setting.frames, names)
    hook.remove()
    reference = states[names[last_before_alternation(setting)]].reference
    assert reference is not None
    for block, name in enumerate(names):
        state = states[name]
        tokens = torch.cat([state.special_tokens, state.patch_tokens.flatten(2, 3)], dim=2)
        if block >= last_before_alternation(setting):
            tokens = reordered(tokens, reference)
        merged = tokens.flatten(1, 2) if network.config.is_global(block) else tokens.flatten(0, 1)
        found[f"act.backbone.block.{block:02d}"] = merged
    for index, block in enumerate(network.config.taps):
        found[f"act.backbone.out.{index}.camera"] = taps[block][:, :, 0]
        found[f"act.backbone.out.{index}.patch"] = taps[block][:, :, 1:]
    stored = {key for key in io if key.startswith("act.")}
    require(stored, "activations")
    assert stored <= set(found)
    assert check(found, io, "") == len(stored)


def test_known_cameras_match(setting: Setting) -> None:
    network, io, prefix = setting.network, setting.case.io, "posed.out."
    require((key for key in io if key.startswith("in.posed.")), "known cameras")
    with torch.no_grad():
        tokens = network.cam_enc(setting.known, setting.size)
        result = network.reconstruct(setting.frames, cameras=setting.known)
        scale = scale_to(result.cameras, setting.known)
    check_run(result, io, prefix)
    check({"cam_token": tokens}, io, prefix)
    if f"{prefix}pose_scale" in io:
        assert error(scale, io[f"{prefix}pose_scale"]) <= 1e-5


def test_other_choices_of_the_reference_view_match(setting: Setting) -> None:
    network, io = setting.network, setting.case.io
    strategies = {key.split(".")[1] for key in io if key.startswith("strategy.")} & set(get_args(ReferenceStrategy))
    require(strategies, "other choices of the reference view")
    point = setting.point(last_before_alternation(setting))
    for strategy in strategies:
        network.reference_strategy = strategy
        prefix = f"strategy.{strategy}.out."
        with torch.no_grad():
            taps, states = network.trunk(setting.frames, [point])
            check_run(network.heads(taps, setting.size, setting.frames), io, prefix)
        reference = states[point].reference
        assert reference is not None
        assert torch.equal(reference, io.get(f"{prefix}reference_view", reference))


def test_a_single_view_matches(setting: Setting) -> None:
    with torch.no_grad():
        check_run(setting.network.reconstruct(setting.frames[:, :1]), setting.case.io, "single_view.out.")


def test_exact_entry_matches(setting: Setting) -> None:
    runs = {key.split(".")[0]: key for key in setting.case.entry if ".block_" in key}
    require(runs, "exact entries")
    chosen = setting.network.reference_strategy
    for run, key in runs.items():
        block = int(key.split(".")[1].removeprefix("block_"))
        # Where the reference view would have been chosen before the entry, the stored runs took the first one.
        setting.network.reference_strategy = "first" if block >= last_before_alternation(setting) else chosen
        check_entry(setting, run, key, block)


def check_entry(setting: Setting, run: str, key: str, block: int) -> None:
    network, entry = setting.network, setting.case.entry
    point, last = network.stitch_points[block], setting.point(last_before_alternation(setting))
    assert point.complete
    batch, views = setting.frames.shape[:2]
    tokens = entry[key].unflatten(0, (batch, views))
    grid = network.token_grid(*setting.size)
    state = TokenState(point.name, tokens[:, :, 1:].unflatten(2, grid), tokens[:, :, :1])
    with torch.no_grad():
        taps, states = network.run_from(state, setting.size, [last])
        result = network.heads(taps, setting.size, setting.frames)
    check_run(result, entry, f"{run}.out.")
    if f"{run}.out.reference_view" in entry:
        reference = states[last].reference
        assert reference is not None
        assert torch.equal(reference, entry[f"{run}.out.reference_view"])


@pytest.mark.parametrize("size", PUBLISHED)
def test_full_size_layout_is_the_published_one(parity_root: Path, size: str) -> None:
    layout = parity_root / "depth_anything_3" / f"layout_da3-{size}.json"
    with torch.device("meta"):
        network = DepthAnything3(PUBLISHED[size])
    check_layout(network, layout, prefix="model.", unbuilt=UNUSED_RAY_LAYERS)
