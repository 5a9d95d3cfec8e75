"""Parity cases: a stored small network with its inputs, outputs and inner activations; sizes and counts are the case's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vist3a.networks.blocks.stitchable import StitchableNetwork
from vist3a.records import TokenState


@dataclass(frozen=True)
class Case:
    """One folder of reference data."""

    folder: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]
    io: dict[str, Tensor]
    entry: dict[str, Tensor]

    @property
    def frames(self) -> Tensor:
        """Input frames in [0, 1]."""
        return self.io["in.images"]


def load_case(root: Path, name: str, prefix: str = "") -> Case:
    """The case of the network ``name`` under the parity root, or skip; ``prefix`` begins its files' names."""
    folder = root / name
    if not (folder / f"{prefix}weights.safetensors").is_file():
        pytest.skip(f"no parity data for {name} in {root}")
    paths = {kind: folder / f"{prefix}{kind}.safetensors" for kind in ("weights", "io", "entry")}
    files = {kind: load_file(path) if kind != "entry" or path.is_file() else {} for kind, path in paths.items()}
    return Case(folder, json.loads((folder / f"{prefix}config.json").read_text()), **files)


def require(found: Iterable[object], what: str) -> None:
    """Skip where a case does not store something."""
    if not list(found):
        pytest.skip(f"this case holds no {what}")


def trunk_sizes(config: dict[str, Any], head: str) -> dict[str, Any]:
    """Constructor arguments of the trunk from a stored config; ``head`` names its dense-head section."""
    assert config["aggregator"].get("aa_block_size", 1) == 1, "only one block of each kind in a row is built"
    taps = config[head].get("intermediate_layer_idx", config.get("intermediate_layer_idx"))
    return {
        "img_size": config["img_size"],
        "patch_size": config["patch_size"],
        "embed_dim": config["embed_dim"],
        "num_registers": config["num_register_tokens"],
        "encoder_depth": config["patch_embed"]["depth"],
        "encoder_heads": config["patch_embed"]["num_heads"],
        "aggregator_depth": config["aggregator"]["depth"],
        "num_heads": config["aggregator"]["num_heads"],
        "mlp_ratio": float(config["fixed"]["mlp_ratio"]),
        "rope_base": float(config["fixed"]["rope_freq"]),
        "camera_depth": config["camera_head"]["trunk_depth"],
        "camera_heads": config["camera_head"]["num_heads"],
        "camera_iterations": config["fixed"]["camera_head_iterations"],
        "dpt_features": config[head]["features"],
        "dpt_channels": tuple(config[head]["out_channels"]),
        "taps": tuple(taps),
    }


def error(value: Tensor, reference: Tensor) -> float:
    """Largest deviation relative to the largest reference magnitude."""
    assert value.shape == reference.shape, f"{tuple(value.shape)} instead of {tuple(reference.shape)}"
    return float((value - reference).abs().max() / reference.abs().max())


def quaternion_error(value: Tensor, reference: Tensor) -> float:
    """As :func:`error`, up to the sign of each quaternion (last axis)."""
    sign = torch.where((value * reference).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return error(value * sign, reference)


def check(found: dict[str, Tensor], reference: dict[str, Tensor], prefix: str, bound: float = 1e-5) -> int:
    """Compare every tensor of ``found`` that the reference has under ``prefix``; number of tensors compared."""
    errors = {key: error(value, reference[prefix + key]) for key, value in found.items() if prefix + key in reference}
    wrong = {key: value for key, value in errors.items() if not value <= bound}
    assert not wrong, wrong
    return len(errors)


def exact_state(network: StitchableNetwork, point: str, tokens: Tensor, frames: Tensor) -> TokenState:
    """State at a complete point from a stored token tensor (frames or scenes first)."""
    batch, views, _, height, width = frames.shape
    grid = network.token_grid(height, width)
    tokens = tokens.reshape(batch, views, -1, tokens.shape[-1])
    special = network.stitch_point(point).special_tokens
    assert network.stitch_point(point).complete
    return TokenState(point, tokens[:, :, special:].unflatten(2, grid), tokens[:, :, :special])


def entry_points(entry: dict[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """Exact-entry oracles: name of the run -> (stitch point, tokens)."""
    kinds = {
        "patch_embed_block": "encoder",
        "aggregator_frame": "aggregator.frame",
        "aggregator_global": "aggregator.global",
    }
    found = {}
    for key, tokens in entry.items():
        if key.endswith(".tokens"):
            run, tensor, _ = key.split(".")
            kind, number = tensor.replace("patch_embed_norm", "patch_embed_block_norm").rsplit("_", 1)
            found[run] = (f"{kinds[kind]}.{number}", tokens)
    return found


def check_activations(network: StitchableNetwork, case: Case) -> int:
    """Every stored trunk activation against the states of one forward pass; number of tensors compared."""
    names = {
        f"encoder.{key.rsplit('.', 1)[1]}" if ".block." in key else key.removeprefix("act."): key
        for key in case.io
        if key.startswith(("act.patch_embed.block.", "act.aggregator.frame.", "act.aggregator.global."))
    }
    inner: dict[str, Tensor] = {}
    encoder, aggregator = network.aggregator.patch_embed, network.aggregator
    hooks = [
        encoder.blocks[0].register_forward_pre_hook(lambda _, args: inner.update({"act.patch_embed.in": args[0]})),
        encoder.norm.register_forward_hook(
            lambda _, args, out: inner.update({"act.patch_embed.norm": out.flatten(0, 1)})
        ),
        aggregator.frame_blocks[0].register_forward_pre_hook(
            lambda _, args: inner.update({"act.aggregator.in": args[0]})
        ),
    ]
    with torch.no_grad():
        _, states = network.trunk(case.frames, list(names))
    for hook in hooks:
        hook.remove()
    for name, key in names.items():
        tokens = torch.cat([states[name].special_tokens, states[name].patch_tokens.flatten(2, 3)], dim=2)
        inner[key] = tokens.flatten(1, 2) if ".global." in key else tokens.flatten(0, 1)
    stored = [key for key in case.io if key.startswith("act.") and "track_head" not in key]
    assert set(stored) <= set(inner)
    return check(inner, case.io, "")


def read_layout(path: Path) -> dict[str, Any]:
    """The tensors of a published layout, packed or not, or skip."""
    packed = path.with_name(f"{path.name}.gz")
    if not path.is_file() and not packed.is_file():
        pytest.skip(f"no {path}")
    text = path.read_text() if path.is_file() else gzip.decompress(packed.read_bytes()).decode()
    tensors: dict[str, Any] = json.loads(text)["tensors"]
    return tensors


def check_layout(network: nn.Module, layout: Path, prefix: str = "", unbuilt: tuple[str, ...] = ()) -> None:
    """State dict equal to a published layout, key for key and shape for shape, but for the parts not built."""
    tensors = read_layout(layout)
    published = {key.removeprefix(prefix): tuple(value["shape"]) for key, value in tensors.items()}
    assert all(key.startswith(prefix) for key in tensors)
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert ours == {key: shape for key, shape in published.items() if not key.startswith(unbuilt)}
