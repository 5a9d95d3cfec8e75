"""A small network of every kind, in float64 with weights strong enough that every part shows, and how results compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from vist3a.networks.anysplat import AnySplat, AnySplatConfig
from vist3a.networks.blocks.mvdust3r_config import MVDust3rConfig
from vist3a.networks.depth_anything3 import DepthAnything3, DepthAnything3Config
from vist3a.networks.mvdust3r import MVDust3r
from vist3a.networks.template import EnterableNetwork
from vist3a.networks.vggt import VGGT, VGGTConfig
from vist3a.records import Cameras, Gaussians, Reconstruction

NetworkT = TypeVar("NetworkT", VGGT, AnySplat, DepthAnything3)

TRUNK: dict[str, Any] = {
    "img_size": 16,
    "patch_size": 4,
    "embed_dim": 16,
    "num_heads": 2,
    "encoder_depth": 2,
    "encoder_heads": 2,
    "aggregator_depth": 6,
    "mlp_ratio": 2.0,
    "num_registers": 2,
    "camera_depth": 1,
    "camera_heads": 2,
    "dpt_features": 8,
    "dpt_channels": (8, 12, 16, 20),
    "taps": (1, 2, 4, 5),
    "layer_scale_init": 0.5,
    "aggregator_layer_scale_init": 0.5,
}
GAUSSIAN_HEAD: dict[str, Any] = {"gs_features": 8, "gs_channels": (8, 4, 8, 12), "sh_degree": 1}
DEPTH_ANYTHING: dict[str, Any] = {
    "img_size": 16,
    "patch_size": 4,
    "embed_dim": 16,
    "depth": 9,
    "num_heads": 2,
    "mlp_ratio": 2.0,
    "alt_start": 3,
    "qk_norm_start": 2,
    "rope_start": 3,
    # Per-view and global blocks, neighbours among them.
    "taps": (4, 5, 7, 8),
    "camera_depth": 1,
    "camera_heads": 2,
    "dpt_features": 8,
    "dpt_channels": (8, 12, 16, 20),
    "layer_scale_init": 0.5,
}
MV_DUST3R: dict[str, Any] = {
    "patch_size": 4,
    "embed_dim": 16,
    "encoder_depth": 2,
    "encoder_heads": 2,
    "decoder_dim": 8,
    "decoder_depth": 3,
    "decoder_heads": 1,
    "mlp_ratio": 2.0,
    "skip_dim": 4,
    "gaussian_dim": 8,
}
FAMILIES = ("vggt", "anysplat", "depth_anything3", "mvdust3r")
KINDS = ("vggt", "anysplat", "da3", "da3-giant", "mvdust3r", "mvdust3r-plus")


def build(kind: str, **changes: Any) -> EnterableNetwork[Any]:
    """The network of that kind, the same every time; ``changes`` of its sizes."""
    torch.manual_seed(0)
    if kind == "vggt":
        return strengthened(VGGT(VGGTConfig(**TRUNK | changes)).double().eval())
    if kind == "anysplat":
        network = strengthened(AnySplat(AnySplatConfig(**TRUNK | GAUSSIAN_HEAD | changes)).double().eval())
        network.voxel_size = None
        return network
    if kind.startswith("da3"):
        giant = {"sh_degree": 1, "mlp": "swiglu"} if kind == "da3-giant" else {}
        return strengthened(DepthAnything3(DepthAnything3Config(**DEPTH_ANYTHING | giant | changes)).double().eval())
    references = 3 if kind == "mvdust3r-plus" else 1
    return shaken(MVDust3r(MVDust3rConfig(**MV_DUST3R | {"references": references} | changes)).double().eval())


def strengthened(network: NetworkT) -> NetworkT:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(
                    std=0.5 if name.endswith(("token", "tokens", "pos_embed")) else parameter[0].numel() ** -0.5
                )
    return network


def shaken(network: MVDust3r) -> MVDust3r:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        # Points in front of the first camera, so that the cameras are those of something.
        for head in (network.downstream_head1, network.downstream_head2):
            head.proj.bias[2 * 16 : 3 * 16] += 1.5
    return network


def clip(size: tuple[int, int] = (12, 20), batch: int = 2, views: int = 3) -> Tensor:
    """Frames in [0, 1], the same every time."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, views, 3, *size, generator=generator, dtype=torch.float64)


def tensors(record: Any) -> dict[str, Tensor]:
    """All tensors of a record by their name."""
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Cameras | Gaussians):
            found |= {f"{field.name}.{key}": part for key, part in tensors(value).items()}
        elif value is not None:
            found[field.name] = value
    return found


def by_view(result: Reconstruction) -> dict[str, Tensor]:
    """All tensors as ``[batch, views, ...]``; networks with one Gaussian per pixel only."""
    found = tensors(result)
    views = result.depth.shape[1]
    return {
        key: value.movedim(0, 2)
        if key == "pose_encodings"
        else value.unflatten(1, (views, -1))
        if "gaussians." in key
        else value
        for key, value in found.items()
    }


def permuted(result: Reconstruction, scenes: Sequence[int], views: Sequence[int]) -> dict[str, Tensor]:
    """Tensors by view with scenes and views in another order."""
    return {key: value[list(scenes)][:, list(views)] for key, value in by_view(result).items()}


def assert_close(first: dict[str, Tensor], second: dict[str, Tensor], bound: float = 1e-6) -> None:
    """Equal up to ``bound`` of each tensor's largest value, and finite."""
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert bool(value.isfinite().all()), key
        assert value.shape == second[key].shape, key
        assert float((value - second[key]).abs().max()) <= bound * float(value.abs().max()), key


def assert_same(a: Reconstruction, b: Reconstruction, bound: float = 1e-6) -> None:
    """As :func:`assert_close` for whole reconstructions."""
    assert_close(tensors(a), tensors(b), bound)
