"""What normalised latents look like: frames of the video decoder, renderings of the 3D, and the 3D itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from jaxtyping import Float
from torch import Tensor

from vist3a.alignment.rewards.base import Need, Views
from vist3a.generators.base import VideoGenerator
from vist3a.records import Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.runtime.slices import in_slices
from vist3a.stitching.base import Decoder


def decode_views(
    generator: VideoGenerator,
    decoder: Decoder,
    render: Renderer,
    normalised: Float[Tensor, "batch channels times rows columns"],
    prompts: Sequence[str],
    view_indices: Tensor,
    needs: Collection[Need] = ("decoded", "rendered"),
    decoded_indices: Tensor | None = None,
    decode: Callable[[Tensor], Tensor] | None = None,
    at_once: int | None = None,
) -> tuple[Views, Reconstruction]:
    """Frames and renderings (at the predicted cameras) of the chosen views of normalised latents, and the 3D.

    ``decoded_indices`` are the views of the frames where they are not those of the renderings; ``decode`` makes frames of raw
    latents (None: the generator). Of renderings a graph holds ``at_once`` views (None: all).
    What ``needs`` does not name is left out: a Gaussian head, where neither renderings nor Gaussians are read, and the video
    decoder, where besides nothing of the 3D decoder reads the image. Terms on geometry alone decode and render nothing.

    Raises:
        ValueError: Renderings or Gaussians are needed of a network without Gaussians.
    """
    raw, network = generator.denormalise(normalised), decoder.network
    with_gaussians = "rendered" in needs or "gaussians" in needs
    if with_gaussians and not network.has_gaussians:
        raise ValueError(
            "reward terms on renderings need a reconstruction network with a Gaussian head, and this one has none; allowed: "
            "terms on decoded views and on geometry"
        )
    # Of 3D decoders some read the image: then frames are decoded although no term asks for them.
    reads_frames = decoder.needs_rgb if with_gaussians else decoder.geometry_needs_rgb
    decode = generator.decode if decode is None else decode
    frames = network.fit(decode(raw)) if "decoded" in needs or reads_frames else None
    stride = generator.spatial_stride
    size = network.frame_size(raw.shape[-2] * stride, raw.shape[-1] * stride)
    scene = decoder(raw, size, rgb=frames, with_gaussians=with_gaussians)
    rendered = None
    if "rendered" in needs:
        assert scene.gaussians is not None
        gaussians, cameras = scene.gaussians, scene.cameras

        def rendering(views: Tensor) -> Tensor:
            return render(gaussians, cameras[:, views], size).rgb.clamp(0, 1).transpose(0, 1)

        # Views first, as they are what is sliced.
        rendered = in_slices(rendering, at_once)(view_indices).transpose(0, 1)
    shown = None if frames is None else frames[:, view_indices if decoded_indices is None else decoded_indices]
    return Views(shown, rendered, tuple(prompts), scene), scene
