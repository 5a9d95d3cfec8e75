"""Ordering of views: the solver against brute force, the order of procedural clips, and the way back."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vist3a.data.ordering import EXACT, _improved_path, order_views, path_length, shortest_path
from vist3a.data.view_distance import camera_distance, overlap_distance, picture_distance
from vist3a.records.frame_count import causal_frames
from vist3a_lab.procedural import WorldConfig, make_world


def random_distances(seed: int, count: int) -> np.ndarray:
    """Distances of random points in the plane."""
    points = np.random.default_rng(seed).normal(size=(count, 2))
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def symmetric_noise(seed: int, count: int) -> np.ndarray:
    """Distances that no points have (no triangle inequality)."""
    noise = np.random.default_rng(seed).random((count, count))
    return np.triu(noise, 1) + np.triu(noise, 1).T


def brute_force(distances: np.ndarray) -> float:
    return min(sum(distances[a, b] for a, b in pairwise(path)) for path in permutations(range(len(distances))))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 7), make=st.sampled_from([random_distances, symmetric_noise]))
def test_path_is_the_shortest_of_all(seed, count, make):
    distances = make(seed, count)
    path = shortest_path(distances)
    assert sorted(path) == list(range(count))
    assert path_length(distances, path) == pytest.approx(brute_force(distances), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 18))
def test_renumbering_the_views_renumbers_the_path(seed, count):
    distances = random_distances(seed, count)
    shuffle = np.random.default_rng(seed + 1).permutation(count)
    path = shortest_path(distances)
    renumbered = [int(shuffle[i]) for i in shortest_path(distances[np.ix_(shuffle, shuffle)])]
    assert renumbered in (path, path[::-1])


def test_local_moves_come_close_to_the_exact_path():
    excess = []
    for seed in range(12):
        distances = random_distances(seed, 11)
        exact = path_length(distances, shortest_path(distances))
        excess.append(path_length(distances, _improved_path(distances)) / exact - 1)
    assert min(excess) > -1e-12 and np.mean(excess) < 0.002 and max(excess) < 0.02


def test_many_views_on_a_line_come_in_order():
    place = np.random.default_rng(0).permutation(40).astype(float)
    path = shortest_path(np.abs(place[:, None] - place[None]))
    steps = np.diff(place[path])
    assert len(path) > EXACT and (steps == steps[0]).all() and abs(steps[0]) == 1


@pytest.mark.parametrize(
    "bad", [np.ones((2, 3)), np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([[0, np.nan], [np.nan, 0]])]
)
def test_what_is_no_distance_is_refused(bad):
    with pytest.raises(ValueError, match="distances"):
        shortest_path(bad)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 16), stride=st.sampled_from([1, 2, 4, 8]))
def test_undo_is_exact_and_the_sequence_is_filled(seed, count, stride):
    order = order_views(random_distances(seed, count), causal_frames(stride))
    views = torch.randn(2, count, 3)
    arranged = order.arrange(views, dim=1)
    assert arranged.shape[1] % stride == 1 % stride and count <= arranged.shape[1] < count + stride
    assert torch.equal(order.restore(arranged, dim=1), views)
    assert set(order.sequence[count:]) <= {order.sequence[count - 1]}


def test_a_smooth_clip_stays_as_it_is():
    place = np.arange(9.0)
    distances = np.abs(place[:, None] - place[None])
    assert order_views(distances).sequence == tuple(range(9))
    assert order_views(distances[::-1, ::-1]).sequence == tuple(range(9))


@pytest.fixture(scope="module")
def world():
    return make_world(WorldConfig(seed=9001, height=32, width=32, supersample=1), range(24))


def in_order(sequence: tuple[int, ...], shuffle: torch.Tensor) -> bool:
    steps = shuffle[list(sequence)].diff()
    return bool((steps == 1).all() or (steps == -1).all())


def test_shuffled_procedural_clips_are_put_in_order_by_their_pictures(world):
    found = 0
    for clip in range(24):
        shuffle = torch.randperm(13, generator=torch.Generator().manual_seed(clip))
        found += in_order(order_views(picture_distance(world.rgb[clip, shuffle])).sequence, shuffle)
    assert found >= 23


def test_shuffled_procedural_clips_are_put_in_order_by_their_cameras(world):
    for clip in range(8):
        shuffle = torch.randperm(13, generator=torch.Generator().manual_seed(clip))
        cameras, depth = world.cameras[clip, shuffle], world.depth[clip, shuffle]
        assert in_order(order_views(camera_distance(cameras)).sequence, shuffle)
        assert in_order(order_views(overlap_distance(cameras, depth)).sequence, shuffle)


def test_distances_are_zero_for_equal_views_and_follow_a_shuffle(world):
    frames, cameras, depth = world.rgb[0], world.cameras[0], world.depth[0]
    shuffle = torch.randperm(13, generator=torch.Generator().manual_seed(1))
    for straight, shuffled in (
        (picture_distance(frames), picture_distance(frames[shuffle])),
        (camera_distance(cameras), camera_distance(cameras[shuffle])),
        (overlap_distance(cameras, depth), overlap_distance(cameras[shuffle], depth[shuffle])),
    ):
        np.testing.assert_allclose(shuffled, straight[np.ix_(shuffle, shuffle)], atol=2e-9)
        assert (straight.diagonal() == 0).all() and (straight[0, 1:] > 0).all()
    assert picture_distance(frames[[0, 0]]).max() == 0


def test_overlap_of_a_sideways_step_in_closed_form():
    from vist3a.records import Cameras

    pose = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    pose[1, 0, 3] = -0.5  # half a unit to the right: a quarter of the two units that are seen at depth 1
    intrinsics = torch.tensor([[16.0, 0, 16], [0, 16, 16], [0, 0, 1]], dtype=torch.float64).repeat(2, 1, 1)
    wall = torch.ones(2, 32, 32, dtype=torch.float64)
    distance = overlap_distance(Cameras(pose, intrinsics), wall)
    assert distance[0, 1] == pytest.approx(0.25 + 1e-3, abs=1e-6)


def test_real_clips_become_as_smooth_as_they_were(clips_root):
    """Neighbours of the order found are as alike (SSIM) as those of the file, on every clip, whose order is not always smooth."""
    from vist3a.data.resizing import fit
    from vist3a.data.video import VideoFile
    from vist3a.metrics.image import ssim

    def likeness(frames: torch.Tensor) -> float:
        return ssim(frames[1:], frames[:-1]).mean().item()

    for path in sorted(clips_root.glob("*.mp4")):
        frames = torch.stack([fit(frame, 64, 64) for frame in VideoFile(path).frames()][:13]) / 255
        shuffled = frames[torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))]
        order = order_views(picture_distance(shuffled), causal_frames(4))
        arranged = order.arrange(shuffled)
        assert likeness(arranged[: len(frames)]) > max(likeness(frames) - 0.02, likeness(shuffled))
        assert torch.equal(order.restore(arranged), shuffled)
