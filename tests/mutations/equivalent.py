"""Changes that no test can notice, because the program does the same: by key or by a rule for keys, with the reason."""

from __future__ import annotations

import re


def _with(reason: str, place: str, *changes: str) -> dict[str, str]:
    """Changes of one function, which have one reason."""
    return {f"{place} {change}": reason for change in changes}


_INNER = "Two vectors have one inner product: the same products are added in the same order."
_KERNEL = r"vist3a/rendering/tile_kernels.py (composite|differentiate)_tiles "

EQUIVALENT: dict[str, str] = {
    **_with(
        "A mean of absolute differences: which side comes first changes neither it nor its gradient.",
        "vist3a/distillation/distill_loss.py distill_terms [swapped]",
        "_l1(encodings_of(a), encodings_of(b)) -> _l1(encodings_of(b), encodings_of(a))",
        "_l1(a.depth, b.depth) -> _l1(b.depth, a.depth)",
        "_gradient_distance(a.depth, b.depth) -> _gradient_distance(b.depth, a.depth)",
        "_l1(a.depth_confidence, b.depth_confidence) -> _l1(b.depth_confidence, a.depth_confidence)",
        "_l1(a.points, b.points) -> _l1(b.points, a.points)",
        "_gradient_distance(a.points.movedim(-1, 2), b.points.movedim(-1, 2))"
        " -> _gradient_distance(b.points.movedim(-1, 2), a.points.movedim(-1, 2))",
        "_l1(a.points_confidence, b.points_confidence) -> _l1(b.points_confidence, a.points_confidence)",
        "_l1(a.cameras.camera_to_world, b.cameras.camera_to_world)"
        " -> _l1(b.cameras.camera_to_world, a.cameras.camera_to_world)",
        "_l1(_normalised(a.cameras, size), _normalised(b.cameras, size))"
        " -> _l1(_normalised(b.cameras, size), _normalised(a.cameras, size))",
        "_l1(first.means, second.means) -> _l1(second.means, first.means)",
        "_l1(_covariances(first), _covariances(second)) -> _l1(_covariances(second), _covariances(first))",
        "_l1(first.harmonics, second.harmonics) -> _l1(second.harmonics, first.harmonics)",
        "_l1(first.opacities, second.opacities) -> _l1(second.opacities, first.opacities)",
        "_l1(first.rotations, second.rotations) -> _l1(second.rotations, first.rotations)",
        "_l1(first.scales, second.scales) -> _l1(second.scales, first.scales)",
        "_l1(own, target) -> _l1(target, own)",
    ),
    **_with(_INNER, "vist3a/metrics/permutation.py chance_of_correlation [swapped]", "a @ b -> b @ a"),
    **_with(
        _INNER,
        "vist3a/geometry/ground.py _fit [swapped]",
        "axes[:, 0] @ towards -> towards @ axes[:, 0]",
        "normal @ center -> center @ normal",
    ),
    **_with(_INNER, "vist3a/geometry/ground.py levelling [swapped]", "normal @ up -> up @ normal"),
    **_with(_INNER, "vist3a/metrics/aggregate.py rank_correlation [swapped]", "a @ b -> b @ a"),
}

RULES: tuple[tuple[str, str], ...] = (
    (
        r" \[swapped\] (torch\.|np\.)?(min|max)(imum)?\((?!.*dim)(?!.*axis)",
        "The larger or smaller of two, none of which is NaN, is the same from either side.",
    ),
    (
        r" \[swapped\] rotation_angle\(",
        "The angle between two rotations is that of a chord, which has no direction.",
    ),
    (
        r"\[keyword\].*(normalize\(.*, dim=1\).* -> (?!.*dim=)|mode='bilinear'.* -> (?!.*bilinear)|"
        r", (format='rgb24'|gradient_direction='descent')\) ->)",
        "What the keyword says is the default of that function.",
    ),
    (
        r"\[keyword\] torch\.random\.fork_rng\(devices=\[\]\) ->",
        "It spares a copy of the generators of GPUs, which nothing here draws from.",
    ),
    (
        r"rendering/cpu\.py _over_tiles \[(condition|comparison|number|index)\] ((if )?(threads|tiles)|"
        r"1 -> 2 #[2-5]$|:-1 -> 1:-1$)",
        "A shortcut, and the sizes of shares: ranges of tiles write what one call over all of them writes, only slower.",
    ),
    (
        _KERNEL + r"\[unwrapped\] (max\((top|left)|min\((bottom|right)), bounds",
        "The bounds of a splat only spare work: outside of them its alpha is too small to be drawn.",
    ),
    (
        _KERNEL + r"(\[unwrapped\] math\.log\(opacity / ALPHA_MIN\) ->|\[comparison\] sigma > level)",
        "The level only spares the exponential: alpha itself decides, and at the level lies below the smallest one.",
    ),
    (
        _KERNEL + r"(\[dropped\] (break|open_pixels -= 1)|\[arithmetic\] (open_pixels -=|bottom - top|right - left))",
        "The number of open pixels only ends the work on a tile early; where it never reaches zero all of it is done.",
    ),
    (
        r"tile_kernels\.py bound_splats \[comparison\] [xy] [+-] reach_[xy] [<>]",
        "A splat that ends exactly a pixel outside of the picture, or begins where it ends, covers no pixel.",
    ),
    (
        r"tile_kernels\.py bound_splats \[unwrapped\] math\.floor",
        "Numbers from zero on are cut to whole ones where they are stored as such.",
    ),
    (
        r"tile_kernels\.py compiled \[(number|keyword)\] (True|numba\.njit\(cache)",
        "Whether machine code is kept on disk and other threads may run meanwhile says nothing about its results.",
    ),
    (
        r"rendering/splats\.py _may_touch \[comparison\] pixel",
        "A ball that ends exactly on the border, a pixel beyond its splat, is nothing that is seen.",
    ),
    (
        r"rendering/cpu\.py _Rasterize\.backward \[unwrapped\] grads\[0\]\.detach\(\)",
        "The kernels read every number as float64, however it is stored; and a backward pass has no graph.",
    ),
    (
        r"rendering/reference\.py _render_one \[(number|keyword)\] (False -> True|checkpoint\(|torch\.argsort\(|True -> False)",
        "Both ways of computing again give the same values, and torch sorts on a CPU in a stable way, asked or not.",
    ),
    (
        r"object_space_pose\.py _descend (\[number\] (0\.1|10) ->|\[unwrapped\] torch\.where\(better, damping)",
        "Damping says how many steps a descent takes and not where it ends.",
    ),
    (
        r"object_space_pose\.py pose_from_rays \[reduction\] ights \* centred\.norm",
        "The unit that lengths are divided by is multiplied back.",
    ),
    (
        r"similarity\.py umeyama \[arithmetic\] (y - mean_y|torch\.det\(u\) \* torch\.det\(vt\))|"
        r"ground\.py _fit \[arithmetic\] points - center",
        "Of a product of sums one factor needs to be centred; and of the determinants, which are 1 or -1, the sign counts.",
    ),
    (
        r"rewards/geometry\.py ReprojectionConsistency\.__call__ \[number\] (1\.0 -> 1\.5( #2)?|0\.0 -> 1\.0)$|"
        r"reprojection\.py _compare \[number\] 0\.0 -> 1\.0|"
        r"pointmap_cameras\.py focal_from_pointmap \[number\] 1\.0 ->",
        "It stands where nothing is read, so that no derivative of what is left out is infinite.",
    ),
    (
        r"(moments|match_tokens|pointmap|cpu|tile_kernels)\.py module \[number\] (1 -> 2|30 -> 31|8 -> 9|256 ->|4 -> 5|16 ->)|"
        r"fusion\.py (module \[number\] (2 -> 3|20 -> 21)|fuse_depth \[arithmetic\] (BLOCK \*\* 3|CHUNK // BLOCK))",
        "How much is computed at once changes no result.",
    ),
    (
        r"(fusion\.py _surface \[comparison\] inverse \* nearest - 1|agreement\.py agreement \[comparison\] .*TOLERANCE$)",
        "No quotient near one lies exactly a tenth or a twentieth from it: these have finer steps than numbers near one.",
    ),
    (
        r"fusion\.py _blocks_near \[number\] 1 -> 2$",
        "Any number but zero marks a block.",
    ),
    (
        r"collision\.py (is_closed \[comparison\] edges|_within \[comparison\])",
        "No edge joins a corner with itself, and no place lies exactly the tolerance outside.",
    ),
    (
        r"collision\.py _hull (\[swapped\] torch\.linalg\.cross\(normal|\[number\] 1 -> 2$)",
        "Any two axes of the ground do, and the first is made as long as one.",
    ),
    (
        r"collision\.py largest_hole \[number\] (1 -> 2 #3|0 -> 1 #8)$",
        "More cells than a triangle can cover are looked at, and none of these more is in it.",
    ),
    (
        r"video\.py to_bytes \[unwrapped\] frames\.float\(\)\.cpu\(\)\.nan_to_num",
        "On these machines the byte of NaN is 0 as well; that it is black is said, because others may differ.",
    ),
    (
        r"glb_file\.py read_glb \[number\] -1 -> -2$",
        "To NumPy any negative size is the one that is left.",
    ),
    (
        r"spherical_harmonics\.py harmonics_rotation \[number\] (2 -> 3|1 -> 2)$",
        "More points of a quadrature that is exact are as exact.",
    ),
    (
        r"ground\.py find_ground (\[comparison\] (heights|lowest|normals @ up|roll|s @ normal)|\[reduction\] poses)",
        "Heights and slopes are rounded, so that none is exactly what is allowed; and a direction has no length.",
    ),
    (
        r"export/mesh\.py largest_pieces \[number\] 0 -> 1 #2$",
        "All corners of a face are of one piece.",
    ),
    (
        r"placement\.py Placement\.mirrored \[comparison\]",
        "The determinant of a turn is 1 or -1.",
    ),
    (
        r"usd\.py _write_splats \[(keyword|number)\] (rim\.CreateAttribute|False -> True$)",
        "What a schema names is not custom, whatever is asked for.",
    ),
    (
        r"epipolar\.py epipolar_inliers \[comparison\] np\.array\(errors\)",
        "No match lies exactly as far from its line as is allowed.",
    ),
    (
        r"mesh_file\.py save_mesh_ply \[keyword\] PlyData\(.* -> PlyData\(elements, comments=",
        "The own order of these machines is the same.",
    ),
    (
        r"rendering/reference\.py _render_one \[reduction\]",
        "A sum of squares is zero where their mean is.",
    ),
    (
        r"sampling/rollout\.py rollout \[number\] (1 -> 2 #4|0 -> 1)$",
        "There is room for one state more, which nobody reads.",
    ),
    (
        r"released\.py load_released \[number\] (2 -> 3 #3|0 -> 1|0\.0 -> 1\.0)$",
        "Special tokens and ridge of a published layer are read by nobody.",
    ),
    (
        r"artifact\.py _of_an_earlier_version \[number\]",
        "Without adapters rank and alpha mean nothing.",
    ),
    (
        r"store\.py load_moments \[unwrapped\] sorted|tuning\.py save_trained \[unwrapped\] p\.detach",
        "Splits are looked up by name; and a file holds no graph.",
    ),
    (
        r"export/axes\.py (flip_points|turn_to_opengl) \[arithmetic\] (points|gaussians\.(rotations|harmonics)) \* |"
        r"ground\.py (_fit|find_ground) \[arithmetic\] (axes\[:, 0\]|normals) \* torch\.sign|"
        r"placement\.py Placement\.gaussians \[arithmetic\] matrix \* matrix",
        "Dividing by 1 and -1 is multiplying by them.",
    ),
    (
        r"ridge\.py RidgePath\.solve \[unwrapped\] self\.values\.clamp\(min=0\)",
        "Eigenvalues of a matrix of squares below zero are rounding, less than the floor that comes next.",
    ),
    (
        r"metrics/video\.py film_motion \[(number|keyword)\]",
        "Gaussians that nobody looks at only take time.",
    ),
    (
        r"metrics/depth\.py depth_errors \[number\] 0 -> 1 #3",
        "Ones are made in the shape of any pixel of a row.",
    ),
    (
        r"permutation\.py chance_of_correlation \[(number|unwrapped)\] (9 -> 10|round\()",
        "Rounding gathers equal sums; the comparison has a slack that is larger.",
    ),
    (
        r"\[keyword\] np\.asarray\((given\[figure\]|values), dtype=np\.float64\)",
        "Numbers of Python are float64 already.",
    ),
    (
        r"exact_scenes\.py scene_errors \[keyword\] .*frames=scene\.frames\)",
        "None of these errors depends on the unit of the scene.",
    ),
)
"""Patterns of keys, each with the reason."""


def reason_of(key: str) -> str | None:
    """Why a change cannot be noticed; None where a test has to."""
    if key in EQUIVALENT:
        return EQUIVALENT[key]
    return next((reason for pattern, reason in RULES if re.search(pattern, key)), None)
