"""Do frames show one place, by features that no network has learned? SIFT matches against the epipolar lines of the cameras.

Weight-free: Lowe's features (IJCV 2004) of scikit-image, and the first-order geometric error of Sampson (Hartley and Zisserman
2003, 11.4.3) of each match.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.records import Cameras, Reconstruction

FRAMES = 5
"""Evenly chosen; neighbors among them are compared."""
CONTRAST, RATIO = 0.005, 0.85
"""Least contrast of a feature (frames are small and smooth), and largest ratio of best to second-best match."""
LARGEST_ERROR = 0.2
"""Pixels from the epipolar line at which a match still agrees: features are found to a fraction of a pixel, and decoders move
them by fractions of one."""
LEAST_MATCHES = 8
"""Of all pairs together; with fewer nothing is known, and nothing agrees."""
NEEDS = "sift needs scikit-image, which is not installed here; allowed: pip install 'vist3a[mesh]'"


class EpipolarSift:
    """Metric ``sift`` of the registry: share of the matches between neighboring frames that lie on their epipolar lines.

    In [0, 1]. It judges frames and cameras together: errors of the cameras count, too.
    """

    more_is_better = True

    def __call__(
        self, scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """One number per sample."""
        return frames.new_tensor([epipolar_inliers(one, scene.cameras[i]) for i, one in enumerate(frames)])


def epipolar_inliers(frames: Float[Tensor, "views 3 height width"], cameras: Cameras) -> float:
    """Share of the matches between frames in [0, 1] that agree with the cameras (one batch axis).

    Raises:
        ModuleNotFoundError: scikit-image is not installed.

    Example:
        >>> epipolar_inliers(clip.frames, scene.cameras[0])
        0.61
    """
    try:
        from skimage.feature import match_descriptors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS) from error
    chosen = torch.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().long().tolist()
    if len(chosen) < 2:
        return 0.0
    found = [_features(frames[view].detach().float().cpu().clamp(0, 1).mean(0).numpy()) for view in chosen]
    errors: list[float] = []
    for first, second in zip(range(len(chosen)), range(1, len(chosen)), strict=False):
        (here, described), (there, other) = found[first], found[second]
        if not len(here) or not len(there):
            continue
        pairs = match_descriptors(described, other, max_ratio=RATIO, cross_check=True)
        matrix = fundamental(cameras, chosen[first], chosen[second])
        errors += sampson(matrix, here[pairs[:, 0]], there[pairs[:, 1]]).tolist()
    return float(np.mean(np.array(errors) < LARGEST_ERROR)) if len(errors) >= LEAST_MATCHES else 0.0


def fundamental(cameras: Cameras, first: int, second: int) -> Float[np.ndarray, "3 3"]:
    """The matrix F with x'^T F x = 0 for pixels x of the first view and x' of the second that show one point."""
    pose, k = cameras.world_to_camera.detach().double().cpu(), cameras.intrinsics.detach().double().cpu()
    relative = pose[second] @ torch.linalg.inv(pose[first])
    x, y, z = relative[:3, 3].tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    matrix = torch.linalg.inv(k[second]).T @ cross @ relative[:3, :3] @ torch.linalg.inv(k[first])
    return np.asarray(matrix.numpy())


def sampson(
    matrix: Float[np.ndarray, "3 3"], first: Float[np.ndarray, "n 2"], second: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, " n"]:
    """Distance in pixels of matches (x, y) from agreeing with a fundamental matrix, to first order."""
    here, there = (np.concatenate([points, np.ones((len(points), 1))], 1) for points in (first, second))
    lines, back = here @ matrix.T, there @ matrix
    residual = (there * lines).sum(1)
    slope = (lines[:, :2] ** 2).sum(1) + (back[:, :2] ** 2).sum(1)
    return np.asarray(np.abs(residual) / np.sqrt(np.maximum(slope, 1e-300)))


def _features(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (x, y) in pixels that span [0, width], and descriptors."""
    from skimage.feature import SIFT

    detector = SIFT(c_dog=CONTRAST)
    try:
        detector.detect_and_extract(gray)
    except RuntimeError:  # what scikit-image says where there is no feature
        return np.zeros((0, 2)), np.zeros((0, 128))
    # Rows and columns become x and y. A pixel's center is half a pixel from its edge; a quarter is there already, as scikit-image
    # enlarges pictures twice by their edges and halves what it finds.
    return detector.positions[:, ::-1] + 0.25, detector.descriptors
