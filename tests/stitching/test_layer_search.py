"""The layer search as a library's function: what is best, splits, and that the parts say the same."""

from __future__ import annotations

import pytest
import torch
from stitching.test_decoder import clips
from tiny_networks import tiny_generator, tiny_network

from vist3a.records import Clip
from vist3a.stitching.extract import TapConfig
from vist3a.stitching.layer_search import NOISE_SHARES, RIDGES, LayerSearch, find_layer, search_clips


def searched(given: list[Clip] | dict[str, list[Clip]], **options: object) -> LayerSearch:
    return find_layer(tiny_generator(), tiny_network(), given, ridges=(1e-3, 1e-1), **{"kernel": (1, 3, 3), **options})


def test_the_best_point_is_the_complete_one_with_the_highest_held_out_share() -> None:
    found = searched(clips(10))
    complete = [score for score in found.scores if score.complete]
    assert 1 < len(complete) < len(found.scores)
    best = complete[0]
    for score in complete[1:]:
        best = score if score.r2_heldout > best.r2_heldout else best
    assert found.best is best and best is not complete[0]
    assert found.layer() is found.layer(best.point) and found.layer().point == best.point
    other = complete[0].point
    assert found.decoder(tiny_network()).point == best.point
    assert found.layer(other).point == found.decoder(tiny_network(), other).point == other
    assert "chosen by parameter" in found.choose(other)[1] and "highest" in found.choose()[1]
    table = found.table()
    assert list(table.point) == [point.name for point in found.settings.points]
    assert table.r2_heldout.tolist() == [score.r2_heldout for score in found.scores]


def test_clips_without_splits_are_split_by_their_names() -> None:
    """A tenth for the ridge, two tenths held out, whatever their order; another seed draws others."""
    data = clips(20)
    found, turned, other = searched(data), searched(data[::-1]), searched(data, seed=1)
    assert len(found.heldout.names) == 4
    assert set(found.heldout.names) == set(turned.heldout.names) != set(other.heldout.names)
    for score, again in zip(found.scores, turned.scores, strict=True):
        assert score.r2_heldout == pytest.approx(again.r2_heldout, rel=1e-9)


def test_given_splits_are_kept_and_all_are_needed() -> None:
    data = clips(6)
    splits = {"fit": data[:3], "selection": data[3:4], "heldout": data[4:]}
    found = searched(splits, kinds=("encoder",))
    assert found.heldout.names == ("c4", "c5") and {score.kind for score in found.scores} == {"encoder"}
    with pytest.raises(ValueError, match="the split selection is empty; allowed: one clip at least in fit"):
        searched({**splits, "selection": []})
    with pytest.raises(ValueError, match="two of them have the same name"):
        searched({**splits, "heldout": data[:1]})


def test_named_points_alone_are_tried_and_score_as_among_others() -> None:
    data = clips(6)
    splits = {"fit": ["c0", "c1", "c2"], "selection": ["c3"], "heldout": ["c4", "c5"]}
    frames = {clip.name: (clip.frames * 255).round().to(torch.uint8) for clip in data}
    by_split = {split: [data[int(name[1:])] for name in names] for split, names in splits.items()}
    whole = searched(by_split)
    point = whole.scores[1].point
    alone = search_clips(
        tiny_generator(),
        tiny_network(),
        splits,
        frames.__getitem__,
        TapConfig(kernel=(1, 3, 3)),
        points=[point],
        ridges=(1e-3, 1e-1),
    )
    assert [score.point for score in alone.scores] == [point]
    assert alone.scores[0].r2_heldout == pytest.approx(whole.scores[1].r2_heldout, rel=1e-9)


def test_the_levels_that_are_reported_and_the_ridges_that_are_tried() -> None:
    """As the documents say: 13, 26, 51 and 100 % of the latents' size, and every power of ten up to the mean diagonal."""
    assert NOISE_SHARES == (0.0, 0.13, 0.26, 0.51, 1.0)
    assert tuple(pytest.approx(10.0**power) for power in range(-6, 1)) == RIDGES
