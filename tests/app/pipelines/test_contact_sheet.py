"""The picture of an evaluation: who stands where, with renderings and without."""

from __future__ import annotations

import pytest
import torch

from vist3a_app.pipelines.evaluate.contact_sheet import contact_sheet

GAP = 2


@pytest.mark.parametrize("kinds", [1, 2])
def test_a_row_is_one_scene(kinds: int) -> None:
    prompts, views, side = 3, 5, 4
    # Every picture is of one gray of its own.
    grays = torch.linspace(0.05, 0.95, 2 * prompts * kinds * views).reshape(2, prompts, kinds, views)
    before, after = ([gray[..., None, None, None].expand(-1, -1, 3, side, side) for gray in state] for state in grays)
    sheet = contact_sheet(before, after, 2)
    assert sheet.shape == (3, 2 * side + GAP, 4 * kinds * (side + GAP) - GAP)
    found = sheet[0, 1 :: side + GAP, 1 :: side + GAP]
    wanted = torch.stack(
        [torch.cat([grays[state, row][:, [0, 2]].flatten() for state in range(2)]) for row in range(2)]
    )
    torch.testing.assert_close(found, wanted)


def test_a_sheet_of_nothing_is_white() -> None:
    assert contact_sheet([], [], 0).unique().tolist() == [1.0]
