"""LPIPS (Zhang et al., 2018): distance of two images in the features of VGG-16, each channel weighted by a learned number.

The authors' package ``lpips`` gives the same distances and gradients (``tests/scorers/test_lpips.py``). It is not used because it
imports torchvision, which is built for one version of torch: installing it replaced torch 2.13.0 by 2.14.1 with 5 GB of CUDA
libraries, and the torchvision for 2.13.0 cannot be imported beside a CPU build of torch. Only its file of weights is read.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.weights.weight_files import load_strictly, read_tensors

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Standardisation of RGB in [-1, 1] that the published weights were trained with."""
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
EPSILON = 1e-10


class Lpips(nn.Module):
    """The perceptual distance with published weights; images in [0, 1]."""

    def __init__(self, stages: tuple[tuple[int, ...], ...] = STAGES) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous, ends = 3, []
        for i, widths in enumerate(stages):
            if i:
                # Pools come before their stage and count as layers: these are the numbers of torchvision's VGG-16.
                layers.append(nn.MaxPool2d(2, 2))
            for width in widths:
                layers += [nn.Conv2d(previous, width, 3, padding=1), nn.ReLU()]
                previous = width
            # The last ReLU of a stage, behind which its features are read.
            ends.append(len(layers) - 1)
        self.features, self.ends = nn.Sequential(*layers), tuple(ends)
        self.channel_weights = nn.ParameterList([nn.Parameter(torch.ones(widths[-1])) for widths in stages])

    @classmethod
    def from_files(cls, network: Path, linear: Path) -> Lpips:
        """Frozen, from VGG-16 in torchvision's naming and the weights of the channels as the ``lpips`` package holds them."""
        model = cls()
        state = {key: value for key, value in read_tensors(network).items() if key.startswith("features.")}
        weights = _linear_weights(linear)
        # ``lin<stage>.model.1.weight`` becomes ``channel_weights.<stage>``.
        state |= {f"channel_weights.{key[3:].split('.')[0]}": value.flatten() for key, value in weights.items()}
        load_strictly(model, state, f"{network} with {linear}")
        return model.requires_grad_(False).eval()

    def maps(self, images: Float[Tensor, "n 3 height width"]) -> list[Tensor]:
        """Feature maps at the end of each stage, unit length over channels."""
        shift, scale = (images.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        x = ((images * 2 - 1) - shift) / scale
        found = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.ends:
                # The square root has no slope at zero; the floor keeps NaN out of its gradient.
                found.append(x / (x.square().sum(1, keepdim=True) + EPSILON**2).sqrt().clamp(min=EPSILON))
        return found

    def forward(
        self, first: Float[Tensor, "n 3 height width"], second: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, " n"]:
        """Distance >= 0 per pair."""
        pairs = zip(self.maps(first), self.maps(second), self.channel_weights, strict=True)
        # Equation 1 of the paper, with the channel weights outside of the square as in the published code.
        terms = [((a - b).square() * weight[:, None, None]).sum(1).mean((1, 2)) for a, b, weight in pairs]
        return torch.stack(terms).sum(0)


def _linear_weights(path: Path) -> dict[str, Tensor]:
    """``lin<stage>.model.1.weight`` [1, channels, 1, 1]; the file has torch's old format, which cannot be mapped."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may fail anywhere
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}); allowed: the lpips package's own file"
        ) from error
    return {str(key): value for key, value in content.items()}
