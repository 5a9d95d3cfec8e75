"""Figures against loops over single values, at the borders of what they take, and of items that are not finite."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import norm, t

from vist3a.metrics import aggregate, direction
from vist3a.metrics.aggregate import (
    NESTED_RESAMPLES,
    RESAMPLES,
    bootstrap_interval,
    few_groups_factor,
    nested_counts,
    paired_difference,
    rank_correlation,
    ranks,
    ratio_of_means,
    stratified_counts,
)
from vist3a.metrics.by_kind import figures_by_kind, worst_lines
from vist3a.metrics.depth import _median, depth_errors
from vist3a.metrics.latent_noise import add_latent_noise
from vist3a.metrics.permutation import chance_of_correlation
from vist3a.metrics.pointmap import pointmap_errors
from vist3a.metrics.pose import PairErrors, accuracy_at, pair_errors, pose_auc, trajectory_error
from vist3a.metrics.pose_transfer import THRESHOLD, pose_transfer
from vist3a.metrics.reprojection import reprojection_errors
from vist3a.metrics.surface import grid_normals, icp, surface_errors
from vist3a.metrics.trajectory import trajectory_errors
from vist3a.metrics.video import diversity, flicker, motion
from vist3a.records import Cameras, Reconstruction


def cameras_of(turns: Rotation, centers: np.ndarray) -> Cameras:
    """World-to-camera turns and camera centers, laid out by the axes of the centers."""
    pose = np.tile(np.eye(4), (*centers.shape[:-1], 1, 1))
    pose[..., :3, :3] = turns.as_matrix().reshape(*centers.shape[:-1], 3, 3)
    pose[..., :3, 3] = -np.einsum("...ij,...j->...i", pose[..., :3, :3], centers)
    return Cameras(torch.from_numpy(pose), torch.eye(3).double().expand(*centers.shape[:-1], 3, 3))


def test_intervals_are_quantiles_of_means_of_the_resamples() -> None:
    values = [1.0, 4.0, 2.0, 8.0, 5.0]
    drawn = np.random.default_rng(3).integers(0, 5, (RESAMPLES, 5))
    means = [np.mean([values[i] for i in row]) for row in drawn]
    assert bootstrap_interval(values, 3) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert bootstrap_interval(values, 3, 0.8) == pytest.approx(tuple(np.quantile(means, [0.1, 0.9])))
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([], 3)
    assert (RESAMPLES, NESTED_RESAMPLES) == (2000, 10_000)


def test_groups_are_drawn_before_their_items_and_in_one_order() -> None:
    sizes, random = [2, 1, 3], np.random.default_rng(8)
    groups = random.integers(0, 3, (NESTED_RESAMPLES, 3))
    found = nested_counts(sizes, 8)
    for row in range(50):
        expected = np.zeros(6)
        for group in groups[row]:
            for item in random.integers(0, sizes[group], sizes[group]):
                expected[[0, 2, 3][group] + item] += 1
        np.testing.assert_array_equal(found[row], expected)
    for wrong in ([], [0], [2, 0]):
        with pytest.raises(ValueError, match="at least one group of at least one item"):
            nested_counts(wrong, 0)
    assert nested_counts([1], 0).tolist() == [[1.0]] * NESTED_RESAMPLES


def test_strata_keep_their_sizes() -> None:
    found = stratified_counts([2, 3], 5)
    random = np.random.default_rng(5)
    expected = np.concatenate([random.multinomial(n, [1 / n] * n, NESTED_RESAMPLES) for n in (2, 3)], 1)
    np.testing.assert_array_equal(found, expected)
    assert (found[:, :2].sum(1) == 2).all() and (found[:, 2:].sum(1) == 3).all() and found.dtype == np.float64


@pytest.mark.parametrize(("groups", "level"), [(2, 0.95), (3, 0.95), (5, 0.99)])
def test_few_groups_widen_by_students_law_and_the_missing_variance(groups: int, level: float) -> None:
    tail = 1 - (1 - level) / 2
    expected = t(groups - 1).ppf(tail) / norm.ppf(tail) * math.sqrt(groups / (groups - 1))
    assert few_groups_factor(groups, level) == pytest.approx(expected)
    with pytest.raises(ValueError, match="1 group; the spread of groups needs two"):
        few_groups_factor(1, level)


@pytest.mark.parametrize("paired", [False, True])
def test_ratios_of_means_leave_out_what_is_not_finite(paired: bool) -> None:
    top, bottom = [1.0, math.nan, 3.0, 5.0, 7.0], [2.0, 1.0, math.inf, 4.0, 3.0]
    found = ratio_of_means(top, bottom, 6, paired)
    ours, theirs = ([1.0, 5.0, 7.0], [2.0, 4.0, 3.0]) if paired else ([1.0, 3.0, 5.0, 7.0], [2.0, 1.0, 4.0, 3.0])
    n = len(ours)
    first = np.random.default_rng(6).integers(0, n, (RESAMPLES, n))
    second = first if paired else np.random.default_rng(7).integers(0, n, (RESAMPLES, n))
    ratios = [np.array(ours)[a].mean() / np.array(theirs)[b].mean() for a, b in zip(first, second, strict=True)]
    assert found == pytest.approx(
        {
            "ratio": np.mean(ours) / np.mean(theirs),
            "ratio_low": np.quantile(ratios, 0.025),
            "ratio_high": np.quantile(ratios, 0.975),
        }
    )


def test_ratios_that_are_no_numbers_are_none() -> None:
    assert ratio_of_means([], [1.0], 0, False) is None and ratio_of_means([1.0], [], 0, False) is None
    assert ratio_of_means([1.0], [0.0], 0, True) is None and ratio_of_means([1.0], [-1.0], 0, True) is None
    assert ratio_of_means([1.0], [1.0, 2.0], 0, False) is not None
    with pytest.raises(ValueError, match="equally many values, not 1 and 2"):
        ratio_of_means([1.0], [1.0, 2.0], 0, True)
    # A resample of zeros alone gives no ratio, and does not make the interval infinite.
    found = ratio_of_means([1.0, 1.0], [0.0, 1.0], 0, True)
    assert found is not None and found["ratio"] == 2 and (found["ratio_low"], found["ratio_high"]) == (1, 2)
    with pytest.raises(ValueError, match="at least one value"):
        paired_difference([math.nan], [1.0], 0)


def test_ranks_of_ties_are_shared() -> None:
    assert ranks([5.0, 1.0, 5.0, 7.0, 5.0]).tolist() == [0, -2, 0, 2, 0]
    assert rank_correlation([1.0, 2.0], [3.0, 4.0]) == 1 and rank_correlation([1.0, 1.0], [3.0, 4.0]) == 0
    for pair in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="two equally long lists of at least two"):
            rank_correlation(*pair)


@pytest.mark.parametrize("count", [1, 9])
def test_orders_of_two_to_eight_are_counted(count: int) -> None:
    with pytest.raises(ValueError, match=rf"2 to 8 values are needed, not {count}, {count}"):
        chance_of_correlation([([float(i) for i in range(count)],) * 2])
    with pytest.raises(ValueError, match="not 2, 3"):
        chance_of_correlation([([1.0, 2.0], [1.0, 2.0, 3.0])])
    rising = ([1.0, 2.0], [3.0, 4.0])
    assert chance_of_correlation([rising]) == 0.5
    # A constant group has no say, wherever it stands.
    assert chance_of_correlation([([1.0, 1.0], [3.0, 4.0]), rising]) == 0.5
    assert aggregate.rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == 0


def test_worst_kinds_are_below_the_mean_of_all_and_the_surest_first() -> None:
    figure = "accuracy/x"
    kinds = [["a"], ["a"], ["b"], ["b"], ["b"], ["c"], ["d", "a"]]
    right = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    found = figures_by_kind(kinds, {figure: [1.0] * 7, "other": [0.5] * 7}, {figure: right, "other": [0.5] * 7})
    # All of a's three prompts lie at 1/3, above the mean of all.
    assert found["worst"] == {figure: ["b"]}
    by_name = {row["kind"]: row for row in found["rows"]}
    assert [by_name[k]["prompts"] for k in "abcd"] == [3, 3, 1, 1]
    assert by_name["a"]["after"] == pytest.approx(1 / 3) and by_name["b"]["before"] == 1
    # Exactly at the mean is not below it.
    even = figures_by_kind([["a"], ["a"], ["b"], ["b"]], {figure: [1.0, 0.0, 1.0, 0.0]}, {figure: [1.0, 0.0, 0.0, 1.0]})
    assert even["worst"] == {figure: []}
    for wrong in ([1.0] * 6, [2.0] * 7, [-1.0] * 7):
        with pytest.raises(ValueError, match="allowed: 0 or 1 for each prompt"):
            figures_by_kind(kinds, {figure: right}, {figure: wrong})
    (line,) = worst_lines({"worst": {figure: ["b"]}, "rows": found["rows"]})
    assert line.startswith("- accuracy/x: b 0% (0% to 56%, 3 prompts)")


@pytest.mark.parametrize("align", [True, False])
def test_depths_of_a_batch_are_compared_item_by_item(align: bool) -> None:
    """Against numpy, with pixels that are negative, zero or not finite on one side, and a mask of each item's own."""
    random = np.random.default_rng(2)
    target = random.uniform(1, 3, (2, 3, 4, 5))
    prediction = target * random.uniform(0.6, 1.6, target.shape) * 1.7
    prediction[0, 0, 0, :3], target[0, 1, 1, :3] = (0.0, -1.0, np.nan), (0.0, -2.0, np.inf)
    # One is large and known: it counts, though it is far from all others.
    target[1, 2, 3, 4] = prediction[1, 2, 3, 4] = 0.5
    valid = random.uniform(size=target.shape) > 0.25
    valid[1, 2, 3, 4] = True
    found = depth_errors(*(torch.from_numpy(values) for values in (prediction, target, valid)), align=align)
    for item in np.ndindex(2, 3):
        p, w, m = prediction[item], target[item], valid[item]
        m = m & np.isfinite(p) & np.isfinite(w) & (p > 0) & (w > 0)
        p, w = p[m], w[m]
        scale = np.median(w) / np.median(p) if align else 1.0
        assert float(found.scale[item]) == pytest.approx(scale)
        assert float(found.abs_rel[item]) == pytest.approx(np.mean(abs(scale * p - w) / w))
        ratio = np.maximum(scale * p / w, w / (scale * p))
        assert float(found.delta_125[item]) == pytest.approx(np.mean(ratio < 1.25))


def test_medians_of_very_many_pixels_are_the_lower_middle() -> None:
    values = torch.ones(2**24, dtype=torch.float32)
    values[: 2**23] = 0.5
    values[-2:] = torch.nan
    assert float(_median(values)) == 0.5
    assert float(_median(values[: 2**23 + 1][-2:])) == 0.75


@dataclass(frozen=True)
class Bright:
    """A metric as somebody else writes it."""

    more_is_better: object = True

    def __call__(self, scene: object, frames: torch.Tensor) -> torch.Tensor:
        return frames.mean((1, 2, 3, 4))


class Whole(Bright):
    """Says one number for all samples."""

    def __call__(self, scene: object, frames: torch.Tensor) -> torch.Tensor:
        return frames.mean()


def test_metrics_say_what_is_better_and_one_number_per_sample() -> None:
    here = f"{__name__}:Bright"
    loaded = direction.load_metrics([here], "evaluate.metrics")
    assert list(loaded) == [f"metric/{here}"]
    frames = torch.rand(3, 2, 3, 4, 5)
    maps = torch.ones(3, 2, 4, 5)
    cameras = Cameras(torch.eye(4).expand(3, 2, 4, 4), torch.eye(3).expand(3, 2, 3, 3))
    scene = Reconstruction(cameras, maps, maps, torch.zeros(3, 2, 4, 5, 3), maps)
    found = direction.measured(loaded, scene, frames)
    torch.testing.assert_close(found[f"metric/{here}"], frames.mean((1, 2, 3, 4)))
    with pytest.raises(ValueError, match=r"x gave \(\); allowed: one number per sample, \(3,\)"):
        direction.measured({"x": Whole()}, scene, frames)
    assert direction.more_is_better(f"metric/{here}")
    for figure, better in (
        ("f_score", True), ("accuracy/decoded", True), ("judge/x", True), ("reward/total", True), ("sharpness/x", True),
        ("depth_absrel", False), ("film/flicker", False), ("diversity", True),
    ):  # fmt: skip
        assert direction.more_is_better(figure) == better, figure


def untold() -> Bright:
    return Bright(more_is_better="yes")


def nothing() -> object:
    return object()


@pytest.mark.parametrize("name", ["untold", "nothing"])
def test_what_is_no_metric_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"evaluate\.metrics: .*: a metric says more_is_better \(true or false\)"):
        direction.load_metrics([f"{__name__}:{name}"], "evaluate.metrics")


def test_noise_on_latents_names_what_is_allowed() -> None:
    latents = torch.ones(2, 1, 1, 1, 1)
    for arguments, sentence in (
        ((-1e-3, [1, 2]), "alpha is -0.001; at least 0"),
        ((0.1, [1]), "1 seeds for 2 latents"),
        ((0.1, [1, 2], "pixel"), "norm_over is 'pixel'; allowed are clip, frame, token"),
    ):
        # As those call it who check no types.
        with pytest.raises(ValueError, match=sentence.replace(".", r"\.")):
            inspect.unwrap(add_latent_noise)(latents, *arguments)  # type: ignore[arg-type]
    assert torch.equal(add_latent_noise(latents, 0.0, [1, 2]), latents)


def test_point_maps_have_means_and_medians_of_either_way() -> None:
    """Three clusters of which one is only in the prediction: all five figures by numpy, after scipy's turn."""
    random = np.random.default_rng(4)
    true = random.normal(size=(30, 3)) * [1, 2, 3]
    ours = true + 0.2 * random.normal(size=(30, 3)) * random.exponential(size=(30, 1))
    found = pointmap_errors(*(torch.from_numpy(points).view(1, 5, 6, 3) for points in (ours, true)))
    x, y = ours - ours.mean(0), true - true.mean(0)
    turn = Rotation.align_vectors(y, x)[0].as_matrix()
    moved = ((x @ turn.T) * y).sum() / (x**2).sum() * x @ turn.T + true.mean(0)
    apart = np.linalg.norm(moved[:, None] - true, axis=-1)
    forth, back = apart.min(1), apart.min(0)
    lower = [np.sort(values)[14] for values in (forth, back)]
    expected = [forth.mean(), back.mean(), *lower, np.diag(apart).mean() / np.linalg.norm(y, axis=1).mean()]
    for name, value in zip(
        ("accuracy", "completeness", "accuracy_median", "completeness_median", "relative"), expected, strict=True
    ):
        assert getattr(found, name).tolist() == pytest.approx([value]), name


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("side", ["prediction", "target"])
def test_a_point_of_which_one_coordinate_is_missing_does_not_count(axis: int, side: str) -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    target = torch.stack([x, y, torch.sin(x) + 0.3 * y * y], -1).double()[None]
    prediction = target + 0.05 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1)).double()
    hole = torch.zeros(1, 6, 7, dtype=torch.bool)
    hole[0, 2, 3] = True
    broken = {"prediction": prediction.clone(), "target": target.clone()}
    broken[side][0, 2, 3, axis] = math.nan
    expected = surface_errors(prediction, target, 0.1, ~hole)
    assert surface_errors(broken["prediction"], broken["target"], 0.1) == expected
    maps = pointmap_errors(broken["prediction"], broken["target"])
    plain = pointmap_errors(prediction, target, ~hole)
    for name, value in vars(plain).items():
        torch.testing.assert_close(getattr(maps, name), value)


def test_surfaces_are_compared_in_double_precision() -> None:
    """Far from the origin, where single precision would lose what is compared."""
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    target = torch.stack([x, y, torch.sin(x) + 0.3 * y * y], -1)[None] + 300
    prediction = target + 0.05 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    single = surface_errors(prediction, target, 0.1, icp_distance=0.5)
    assert single == surface_errors(prediction.double(), target.double(), 0.1, icp_distance=0.5)


def test_normals_are_cross_products_of_neighbors_on_either_side() -> None:
    points = torch.randn(2, 5, 6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = grid_normals(points)
    for view, row, column in np.ndindex(2, 5, 6):
        if row in (0, 4) or column in (0, 5):
            assert bool(found[view, row, column].isnan().all())
            continue
        across = (points[view, row, column + 1] - points[view, row, column - 1]).numpy()
        down = (points[view, row + 1, column] - points[view, row - 1, column]).numpy()
        normal = np.cross(across, down)
        np.testing.assert_allclose(found[view, row, column], normal / np.linalg.norm(normal))


def test_icp_goes_on_until_nothing_changes() -> None:
    """The first step is the best motion onto the nearest points; more steps go on from there, to the end."""
    random = torch.Generator().manual_seed(3)
    target = torch.rand(60, 3, generator=random, dtype=torch.float64)
    turn = torch.from_numpy(Rotation.from_rotvec([0.2, -0.15, 0.1]).as_matrix())
    source = target @ turn.T + torch.tensor([0.03, 0.01, -0.02])
    errors = []
    for steps in (0, 1, 2, 30, 200):
        rotation, translation = icp(source, target, 0.5, steps)
        errors.append(float((source @ rotation.T + translation - target).norm(dim=-1).mean()))
    assert errors[0] == pytest.approx(float((source - target).norm(dim=-1).mean()))
    assert errors[0] > errors[1] > errors[2] > errors[3] and errors[2] > 1e-3 and max(errors[3:]) < 1e-9, errors
    assert icp(source, target, 0.5)[1].tolist() == icp(source, target, 0.5, 30)[1].tolist()


def test_pairs_of_views_are_compared_one_by_one() -> None:
    """Turns and directions of four cameras in two scenes, by scipy."""
    random = np.random.default_rng(6)
    ours_c, true_c = random.normal(size=(2, 2, 4, 3))
    ours_r, true_r = Rotation.random(8, random_state=1), Rotation.random(8, random_state=2)
    found = pair_errors(cameras_of(ours_r, ours_c), cameras_of(true_r, true_c))
    for scene in range(2):
        pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
        for place, (i, j) in enumerate(pairs):
            (a, c), (b, d) = (
                (
                    turns[4 * scene + j] * turns[4 * scene + i].inv(),
                    turns[4 * scene + j].apply(centers[scene, i] - centers[scene, j]),
                )
                for turns, centers in ((ours_r, ours_c), (true_r, true_c))
            )
            assert float(found.rotation[scene, place]) == pytest.approx(np.degrees((a * b.inv()).magnitude()), abs=1e-6)
            cosine = c @ d / np.linalg.norm(c) / np.linalg.norm(d)
            assert float(found.translation[scene, place]) == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-6)
    assert found.one_still is not None and not found.one_still.any()
    folded = torch.minimum(found.translation, 180 - found.translation)
    torch.testing.assert_close(found.line, folded)
    worst = torch.maximum(found.rotation, folded)
    for threshold in (30, 5):
        shares = [[float((row < x).double().mean()) for x in range(1, threshold + 1)] for row in worst]
        assert pose_auc(found, threshold).tolist() == pytest.approx([np.mean(row) for row in shares])
    assert torch.equal(pose_auc(found), pose_auc(found, 30))
    # An error of exactly the threshold is not below it.
    assert float(accuracy_at(torch.tensor([5.0, 4.9]), 5.0)) == 0.5
    bare = PairErrors(torch.tensor([0.0]), torch.tensor([170.0]))
    assert bare.line.tolist() == [10.0]


def test_cameras_that_stand_still_have_no_direction() -> None:
    """Both, the one or the other, at a billionth of a unit; what is longer has one."""
    turns = Rotation.identity(2)

    def pair(length: float, sign: float = 1.0) -> Cameras:
        return cameras_of(turns, np.array([[0.0, 0, 0], [0, 0, sign * length]]))

    for ours, true, angle, line, one in (
        (pair(1.0), pair(1e-10), 180.0, 90.0, True), (pair(1e-10), pair(1.0), 180.0, 90.0, True),
        (pair(1e-10), pair(1e-10, -1), 0.0, 0.0, False), (pair(1e-8), pair(1.0, -1), 180.0, 0.0, False),
        (pair(1e-8), pair(1e-8), 0.0, 0.0, False), (pair(1.0), pair(1e-9), 0.0, 0.0, False),
        (pair(1e-9), pair(1.0), 0.0, 0.0, False),
    ):  # fmt: skip
        found = pair_errors(ours, true)
        assert found.one_still is not None
        assert (found.translation.item(), found.line.item(), bool(found.one_still)) == (
            pytest.approx(angle),
            pytest.approx(line),
            one,
        )
    wide, narrow = (cameras_of(Rotation.identity(n), np.zeros((n, 3))) for n in (3, 2))
    for views in ((wide, narrow), (wide[:1], wide[:1])):
        with pytest.raises(ValueError, match="pose errors need two or more views"):
            pair_errors(*views)


def test_paths_are_scaled_and_never_mirrored() -> None:
    random = np.random.default_rng(7)
    centers = random.normal(size=(2, 2, 5, 3))
    turns = [Rotation.random(10, random_state=seed) for seed in (3, 4)]
    ours, true = (cameras_of(t, c) for t, c in zip(turns, centers, strict=True))
    found = trajectory_error(ours, true)
    for scene in range(2):
        a, b = (turns[side][5 * scene].apply(centers[side, scene] - centers[side, scene, :1]) for side in (0, 1))
        scale = max((a * b).sum() / (a**2).sum(), 0)
        expected = math.sqrt(((scale * a - b) ** 2).sum() / (b**2).sum())
        assert float(found[scene]) == pytest.approx(expected)
    still = cameras_of(Rotation.identity(3), np.zeros((3, 3)))
    assert float(trajectory_error(still, ours[0, :3])) == pytest.approx(1) and math.isnan(
        float(trajectory_error(ours[0, :3], still))
    )


def test_what_a_trajectory_needs() -> None:
    cameras = cameras_of(Rotation.random(5, random_state=5), np.random.default_rng(8).normal(size=(5, 3)))
    for ours, true, step in (
        (cameras[:4], cameras, 1), (cameras[:2], cameras[:2], 1), (cameras, cameras, 0), (cameras[:4], cameras[:4], 4),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"views with step {step}; as many predicted as true ones and at least"):
            trajectory_errors(ours, true, step)
    for count, step in ((3, 1), (4, 3)):
        assert trajectory_errors(cameras[:count], cameras[:count], step).ate < 1e-12
    assert trajectory_errors(cameras, cameras) == trajectory_errors(cameras, cameras, 1)
    single = trajectory_errors(cameras.to(dtype=torch.float32), cameras.to(dtype=torch.float32))
    assert single.ate < 1e-12


def test_pose_transfer_has_the_figures_of_the_pairs() -> None:
    random = np.random.default_rng(9)
    ours, true = (
        cameras_of(Rotation.from_rotvec(0.2 * random.normal(size=(8, 3))), random.normal(size=(2, 4, 3)))
        for _ in range(2)
    )
    asked: list[torch.Tensor] = []
    frames = torch.rand(2, 4, 3, 2, 2)

    def estimate(given: torch.Tensor) -> Cameras:
        asked.append(given)
        return ours

    found, pairs = pose_transfer(frames, true, estimate), pair_errors(ours, true)
    assert asked[0] is frames and THRESHOLD == 20
    torch.testing.assert_close(found.similarity, pose_auc(pairs, 20))
    for name in ("rotation", "translation"):
        lower = getattr(pairs, name).sort(-1).values[:, 2]
        assert torch.equal(getattr(found, name), lower)
    torch.testing.assert_close(found.trajectory, trajectory_error(ours, true))


@pytest.mark.parametrize("gap", [1, 2])
def test_reprojection_pixel_by_pixel(gap: int) -> None:
    """Three views of a bumpy surface with lenses of their own: there and back by single pixels, with bilinear depth."""
    height, width, random = 7, 9, np.random.default_rng(10)
    turns = Rotation.from_rotvec(0.05 * random.normal(size=(3, 3)))
    cameras = cameras_of(turns, 0.1 * random.normal(size=(1, 3, 3)))
    k = torch.tensor([[[8.0 + i, 0, 4.4], [0, 9.0 - i, 3.6], [0, 0, 1]] for i in range(3)], dtype=torch.float64)[None]
    cameras = Cameras(cameras.world_to_camera, k)
    depth = torch.from_numpy(random.uniform(1.8, 2.2, (1, 3, height, width)))
    frames = torch.from_numpy(random.uniform(size=(1, 3, 3, height, width)))
    found = reprojection_errors(depth, cameras, frames, gap=gap)
    pose, lens = cameras.world_to_camera[0].numpy(), k[0].numpy()

    def sampled(values: np.ndarray, x: float, y: float) -> np.ndarray:
        """Bilinear between pixel centers, the border repeated."""
        x, y = min(max(x - 0.5, 0), width - 1), min(max(y - 0.5, 0), height - 1)
        left, top = min(int(x), width - 2), min(int(y), height - 2)
        a, b = x - left, y - top
        patch = values[..., top : top + 2, left : left + 2]
        return (1 - b) * ((1 - a) * patch[..., 0, 0] + a * patch[..., 0, 1]) + b * (
            (1 - a) * patch[..., 1, 0] + a * patch[..., 1, 1]
        )

    def move(point: np.ndarray, z: float, i: int, j: int) -> tuple[np.ndarray, float]:
        local = np.linalg.inv(lens[i]) @ [*point, 1] * z
        world = pose[i, :3, :3].T @ (local - pose[i, :3, 3])
        there = pose[j, :3, :3] @ world + pose[j, :3, 3]
        pixel = lens[j] @ there
        return pixel[:2] / pixel[2], there[2]

    sums: dict[str, list[float]] = {"pixels": [], "depth": [], "colour": [], "covered": []}
    for i, j in [(a, a + gap) for a in range(3 - gap)] + [(a + gap, a) for a in range(3 - gap)]:
        pixels, depths, colors = [], [], []
        for row, column in np.ndindex(height, width):
            start = np.array([column + 0.5, row + 0.5])
            (x, y), z = move(start, float(depth[0, i, row, column]), i, j)
            if not (0 < x < width and 0 < y < height and z > 0):
                continue
            seen = float(sampled(depth[0, j].numpy(), x, y))
            back, _ = move(np.array([x, y]), seen, j, i)
            pixels.append(np.linalg.norm(back - start))
            depths.append(abs(seen - z) / z)
            colors.append(np.abs(sampled(frames[0, j].numpy(), x, y) - frames[0, i, :, row, column].numpy()).mean())
        sums["pixels"].append(np.sort(pixels)[(len(pixels) - 1) // 2])
        sums["depth"].append(np.sort(depths)[(len(depths) - 1) // 2])
        sums["colour"] += colors
        sums["covered"].append(len(pixels) / (height * width))
    assert min(sums["covered"]) > 0.5 and min(sums["covered"]) < 1
    for name, values in sums.items():
        assert float(getattr(found, name)) == pytest.approx(np.mean(values), rel=1e-6), name


def test_films_of_a_batch_have_paths_lights_and_distances_of_their_own() -> None:
    random = np.random.default_rng(11)
    centers, depth = random.normal(size=(2, 4, 3)), torch.from_numpy(random.uniform(1, 3, (2, 4, 3, 5)))
    found = motion(cameras_of(Rotation.random(8, random_state=6), centers), depth)
    for scene in range(2):
        path = sum(np.linalg.norm(centers[scene, i + 1] - centers[scene, i]) for i in range(3))
        assert float(found[scene]) == pytest.approx(path / np.sort(depth[scene].flatten().numpy())[29])
    frames = torch.from_numpy(random.uniform(size=(2, 5, 3, 4, 6)))
    light = frames.mean((-2, -1)).numpy()
    bend = light[:, 2:] - 2 * light[:, 1:-1] + light[:, :-2]
    np.testing.assert_allclose(flicker(frames), np.sqrt((bend**2).mean((1, 2))))
    assert flicker(frames[:, :3]).shape == (2,)
    with pytest.raises(ValueError, match="at least 3 frames, found 2"):
        flicker(frames[:, :2])
    films = list(torch.from_numpy(random.uniform(size=(3, 2, 3, 2, 2))))
    apart = [float((films[i] - films[j]).abs().mean()) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert diversity(films, lambda a, b: (a - b).abs().mean((1, 2, 3))) == pytest.approx(np.mean(apart))
    with pytest.raises(ValueError, match="at least two films of a prompt, found 1"):
        diversity(films[:1], lambda a, b: a.mean((1, 2, 3)))
