"""What a bank holds at a step depends on (seed, step) only; correspondences are exact."""

from __future__ import annotations

import pytest
import torch

from vist3a.geometry.projection import project, unproject_depth
from vist3a_lab.pretraining.matching import MatchingHeads, correspondences
from vist3a_lab.pretraining.scene_bank import BankConfig, SceneBank

CONFIG = BankConfig(
    capacity=4, frames=3, extra_views=1, height=16, width=16, refresh_scenes=1, refresh_every=2, with_depth=True
)


def test_refreshing_step_by_step_equals_jumping() -> None:
    walked, jumped = SceneBank(CONFIG, 3, "cpu"), SceneBank(CONFIG, 3, "cpu")
    for step in range(7):
        walked.refresh(step)
    jumped.refresh(6)
    assert torch.equal(walked.rgb, jumped.rgb)
    assert torch.equal(walked.caption_ids, jumped.caption_ids)
    later = SceneBank(CONFIG, 3, "cpu", first=4)
    assert torch.equal(walked.rgb[:3], later.rgb[:3])  # scenes 4, 5, 6 replaced 0, 1, 2
    assert not torch.equal(walked.rgb[3], later.rgb[3])


def test_a_bank_without_depth_says_so() -> None:
    bank = SceneBank(BankConfig(capacity=1, frames=1, height=16, width=16), 0, "cpu")
    with pytest.raises(RuntimeError, match="without depth"):
        bank.depth_of(torch.tensor([0]), torch.tensor([0]))


def test_correspondences_point_at_the_same_surface() -> None:
    bank = SceneBank(BankConfig(capacity=3, frames=3, height=64, width=64, with_depth=True), 5, "cpu")
    scenes, views = torch.arange(3), torch.arange(3)
    depth, cameras = bank.depth_of(scenes, views), bank.cameras(scenes, views)
    truth = correspondences(depth, cameras, patch=8)
    assert float(truth.valid.float().mean()) > 0.5
    points = unproject_depth(depth[:, 1:], cameras[:, 1:])[:, :, 4::8, 4::8].flatten(2, 3)
    pixels, _ = project(points.flatten(1, 2), cameras[:, 0])
    expected = (pixels / 64).view_as(truth.location)
    torch.testing.assert_close(truth.location, expected)
    cell = (pixels // 8).clamp(0, 7)
    token = (cell[..., 1] * 8 + cell[..., 0]).view(truth.token.shape).long()
    assert torch.equal(truth.token[truth.valid], token[truth.valid])


def test_matching_loss_is_lowest_for_true_matches() -> None:
    """Tokens that are one-hot codes of their true token in view 0 match better than shuffled ones."""
    bank = SceneBank(BankConfig(capacity=2, frames=2, height=64, width=64, with_depth=True), 6, "cpu")
    scenes, views = torch.arange(2), torch.arange(2)
    truth = correspondences(bank.depth_of(scenes, views), bank.cameras(scenes, views), patch=8)
    codes = torch.eye(64)
    first = codes.expand(2, 1, 64, 64)
    right = torch.cat([first, codes[truth.token]], dim=1).view(2, 2, 8, 8, 64)
    wrong = torch.cat([first, codes[(truth.token + 17) % 64]], dim=1).view(2, 2, 8, 8, 64)
    heads = MatchingHeads({"p": 64}, dimension=64)
    torch.nn.init.eye_(heads.project[0].weight)
    torch.nn.init.zeros_(heads.project[0].bias)
    with torch.no_grad():
        losses = [float(heads([tokens], truth)["match"]) for tokens in (right, wrong)]
    assert losses[0] < 0.05
    assert losses[1] > 3
