"""VGGT against the stored outputs of the reference implementation (tracks are not built)."""

from pathlib import Path

import pytest
import torch
from parity_cases import Case, check, check_activations, check_layout, entry_points, exact_state, load_case, trunk_sizes
from torch import Tensor

from vist3a.geometry.projection import unproject_depth
from vist3a.models.reconstruction import VGGT, VGGT_1B, VGGTConfig
from vist3a.records import Reconstruction

UNBUILT = ("track_head.",)


@pytest.fixture(scope="module")
def case(parity_root: Path) -> Case:
    return load_case(parity_root, "vggt")


@pytest.fixture(scope="module")
def network(case: Case) -> VGGT:
    network = VGGT(VGGTConfig(**trunk_sizes(case.config, "dpt"))).eval()
    network.load_public_state_dict(case.weights)
    return network


def outputs(result: Reconstruction) -> dict[str, Tensor]:
    return {
        "pose_enc_list": result.pose_encodings,
        "pose_enc": result.pose_encodings[-1],
        "extrinsic": result.cameras.world_to_camera[..., :3, :],
        "intrinsic": result.cameras.intrinsics,
        "depth": result.depth[..., None],
        "depth_conf": result.depth_confidence,
        "world_points": result.points,
        "world_points_conf": result.points_confidence,
        "world_points_from_depth": unproject_depth(result.depth, result.cameras, 0.0),
    }


def test_every_output_matches(network: VGGT, case: Case) -> None:
    with torch.no_grad():
        found = outputs(network.reconstruct(case.frames))
    stored = {key for key in case.io if key.startswith("out.")}
    tracks = {f"out.{name}" for name in ("track", "track_list", "vis", "conf")}
    assert {key for key in stored if not key.startswith("out.iter1.")} - tracks == {f"out.{key}" for key in found}
    check(found, case.io, "out.")


def test_every_stored_activation_matches(network: VGGT, case: Case) -> None:
    assert check_activations(network, case) > 5


def test_exact_entry_matches(network: VGGT, case: Case) -> None:
    runs = entry_points(case.entry)
    assert runs
    for run, (point, tokens) in runs.items():
        state = exact_state(network, point, tokens, case.frames)
        with torch.no_grad():
            result = network.reconstruct_from(state, tuple(case.frames.shape[-2:]))
        stored = [key for key in case.entry if key.startswith(f"{run}.out.") and ".iter1." not in key]
        assert check(outputs(result), case.entry, f"{run}.out.") == len(stored) > 0


def test_full_size_layout_is_the_published_one(case: Case) -> None:
    with torch.device("meta"):
        network = VGGT(VGGT_1B)
    check_layout(network, case.folder / "layout_vggt_1b.json", unbuilt=UNBUILT)
