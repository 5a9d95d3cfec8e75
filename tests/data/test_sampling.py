from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vist3a.data.sampling import choose_views, fewest_views, view_count
from vist3a.data.splits import SPLITS, assign_splits
from vist3a.records.frame_count import causal_frames


@given(available=st.integers(0, 500), wanted=st.integers(0, 100), stride=st.sampled_from([1, 3, 4, 8]))
def test_view_count_is_the_largest_that_the_generator_takes(available, wanted, stride):
    count, limit = view_count(available, wanted, causal_frames(stride)), min(available, wanted)
    smallest = fewest_views(causal_frames(stride))
    assert smallest == {1: 5, 3: 7, 4: 5, 8: 9}[stride]
    if limit < smallest:
        assert count == 0
    else:
        assert count % stride == 1 % stride
        assert count <= limit < count + stride


@given(data=st.data(), available=st.integers(5, 400), wanted=st.integers(5, 49), max_stride=st.floats(1, 40))
def test_views_are_ordered_even_and_within_the_stretch(data, available, wanted, max_stride):
    sharpness = data.draw(st.none() | st.lists(st.floats(0, 1), min_size=available, max_size=available))
    allowed = causal_frames(4)
    positions, stride = choose_views(available, wanted, max_stride, sharpness, allowed)
    assert len(positions) == view_count(available, wanted, allowed)
    assert positions[0] >= 0 and positions[-1] < available
    steps = [b - a for a, b in pairwise(positions)]
    slack = 1 + (0 if sharpness is None else 2 * (stride // 4))
    assert all(step >= 1 and abs(step - stride) <= slack for step in steps)
    assert stride <= max_stride
    if sharpness is None and stride < max_stride:
        assert (positions[0], positions[-1]) == (0, available - 1)


def test_views_of_a_long_stretch_lie_in_its_middle():
    assert choose_views(101, 5, 5.0)[0] == [40, 45, 50, 55, 60]


def test_sharper_neighbours_are_preferred():
    sharpness = [1.0] * 41
    sharpness[11] = 2.0
    assert choose_views(41, 5, 10.0, sharpness)[0] == [0, 11, 20, 30, 40]


def test_too_short_stretch_is_refused():
    with pytest.raises(ValueError, match="at least 5"):
        choose_views(4, 13, 8.0)


@given(
    names=st.lists(st.text(min_size=1, max_size=8), min_size=3, max_size=60, unique=True),
    seed=st.integers(0, 9),
    selection=st.floats(0.01, 0.98),
    heldout=st.floats(0.01, 0.98),
)
def test_every_split_gets_a_clip_whatever_the_order(names, seed, selection, heldout):
    splits = assign_splits(names, seed, selection, heldout)
    assert set(splits.values()) == set(SPLITS)
    assert splits == assign_splits(names[::-1], seed, selection, heldout)


def test_split_shares():
    splits = list(assign_splits([f"scene-{i}" for i in range(96)], 1, 0.1, 0.2).values())
    assert [splits.count(s) for s in SPLITS] == [67, 10, 19]


def test_fewer_than_three_clips_is_one_sentence():
    with pytest.raises(ValueError, match="2 clips passed the checks; at least 3 are needed"):
        assign_splits(["a", "b"], 0, 0.1, 0.2)
