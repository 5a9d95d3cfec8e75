"""Changes that no test can notice, because the program does the same: by key, with the reason."""


def _with(reason: str, place: str, *changes: str) -> dict[str, str]:
    """Changes of one function, which have one reason."""
    return {f"{place} {change}": reason for change in changes}


_INNER = "Two vectors have one inner product: the same products are added in the same order."
_WHOLE = "The larger or smaller of two whole numbers, none of which can be NaN, is the same from either side."
_PIXELS = (
    "min(top + TILE, height) -> min(height, top + TILE)",
    "min(left + TILE, width) -> min(width, left + TILE)",
    "max(top, bounds[i, 2]) -> max(bounds[i, 2], top)",
    "min(bottom, bounds[i, 3]) -> min(bounds[i, 3], bottom)",
    "max(left, bounds[i, 0]) -> max(bounds[i, 0], left)",
    "min(right, bounds[i, 1]) -> min(bounds[i, 1], right)",
)

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
    **_with(
        "A shortcut: ranges of tiles write what one call over all of them writes, only slower.",
        "vist3a/rendering/cpu.py _over_tiles",
        "[condition] if threads == 1 or tiles == 1: kernel(0, tiles, *arguments) return"
        " -> if not (threads == 1 or tiles == 1): kernel(0, tiles, *arguments) retu",
        "[condition] threads == 1 or tiles == 1 -> threads == 1 and tiles == 1",
        "[comparison] threads == 1 -> threads != 1",
        "[comparison] tiles == 1 -> tiles != 1",
    ),
    **_with(_WHOLE, "vist3a/rendering/tile_kernels.py composite_tiles [swapped]", *_PIXELS),
    **_with(_WHOLE, "vist3a/rendering/tile_kernels.py differentiate_tiles [swapped]", *_PIXELS),
    **_with(_INNER, "vist3a/metrics/permutation.py chance_of_correlation [swapped]", "a @ b -> b @ a"),
    **_with(_INNER, "vist3a/metrics/aggregate.py rank_correlation [swapped]", "a @ b -> b @ a"),
}
