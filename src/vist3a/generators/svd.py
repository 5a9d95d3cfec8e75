"""Stable Video Diffusion on the diffusers classes: a video from its first frame; there is no text input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import TrainingPair, VideoGenerator
from vist3a.generators.published import Part, PublishedSizes
from vist3a.records import Condition

# What CLIP's published image encoder was trained on.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# The network counts frames per second from zero; it was trained at 7.
FPS, MOTION, NOISE_AUGMENTATION = 7 - 1, 127, 0.02

PUBLISHED: PublishedSizes = MappingProxyType(
    {
        "svd-xt": {
            "vae": Part(
                "diffusers",
                "AutoencoderKLTemporalDecoder",
                {
                    "down_block_types": ("DownEncoderBlock2D",) * 4,
                    "block_out_channels": (128, 256, 512, 512),
                    "layers_per_block": 2,
                },
            ),
            "image_encoder": Part(
                "transformers",
                "CLIPVisionModelWithProjection",
                {
                    "hidden_size": 1280,
                    "intermediate_size": 5120,
                    "projection_dim": 1024,
                    "num_hidden_layers": 32,
                    "num_attention_heads": 16,
                    "image_size": 224,
                    "patch_size": 14,
                },
            ),
            "unet": Part("diffusers", "UNetSpatioTemporalConditionModel", {"num_attention_heads": (5, 10, 20, 20)}),
            "scheduler": Part(
                "diffusers",
                "EulerDiscreteScheduler",
                {
                    "beta_start": 0.00085,
                    "beta_end": 0.012,
                    "beta_schedule": "scaled_linear",
                    "prediction_type": "v_prediction",
                    "sigma_max": 700.0,
                    "sigma_min": 0.002,
                    "steps_offset": 1,
                    "timestep_spacing": "leading",
                    "timestep_type": "continuous",
                    "use_karras_sigmas": True,
                },
            ),
        },
    }
)


class SVDGenerator(VideoGenerator):
    """SVD: image autoencoder with a temporal decoder, CLIP image encoder, U-Net that answers with v (EDM noise levels).

    Any number of frames; every frame has its own latent. Guidance rises linearly from 1 at the first frame, which is given, to
    its value at the last one, and compares with no image at all.
    """

    ATTRIBUTES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vae": ("vae",),
        "tokenizer": (),
        "text": ("image_encoder",),
        "denoiser": ("unet", "scheduler"),
    }
    CLASSES: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "vae": "AutoencoderKLTemporalDecoder",
        "image_encoder": "CLIPVisionModelWithProjection",
        "unet": "UNetSpatioTemporalConditionModel",
        "scheduler": ("EulerDiscreteScheduler",),
    }
    published: ClassVar[PublishedSizes] = PUBLISHED
    temporal_stride = 1
    unet: Any
    frames_at_once: int | None = None
    """Frames that the temporal decoder sees together; None: the whole clip."""
    takes_text = False
    uses_negative = False

    def __init__(
        self,
        vae: Any | None = None,
        unet: Any | None = None,
        image_encoder: Any | None = None,
        scheduler: Any | None = None,
        max_text_tokens: int | None = None,
    ) -> None:
        super().__init__(max_text_tokens, vae=vae, unet=unet, image_encoder=image_encoder, scheduler=scheduler)
        if vae is not None:
            self.channels = vae.config.latent_channels
            self.spatial_stride = 2 ** (len(vae.config.block_out_channels) - 1)
            self.scaling_factor = vae.config.scaling_factor

    @property
    def spatial_multiple(self) -> int:
        """Autoencoder stride times the U-Net's (1 without it)."""
        halvings = 0 if self.unet is None else len(self.unet.config.block_out_channels) - 1
        return self.spatial_stride * 2**halvings

    def _encode_video(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        batch, _, views = video.shape[:3]
        # The encoder is one of images: frames go along the batch.
        posterior = self._part("vae").encode(video.transpose(1, 2).flatten(0, 1), return_dict=False)[0]
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return latents.unflatten(0, (batch, views)).transpose(1, 2)

    def _decode_video(self, latents: Tensor) -> Tensor:
        batch = len(latents)
        parts = []
        for part in latents.split(self.frames_at_once or latents.shape[2], dim=2):
            # The decoder takes frames along the batch, too, and is told how many belong together.
            times = part.shape[2]
            frames = self._part("vae").decode(part.transpose(1, 2).flatten(0, 1), num_frames=times, return_dict=False)[
                0
            ]
            parts.append(frames.unflatten(0, (batch, times)))
        return torch.cat(parts, dim=1).transpose(1, 2)

    def save_memory(self) -> None:
        """See :meth:`VideoGenerator.save_memory`: the autoencoder has no tiles, but frames can be decoded a few at a time."""
        self.frames_at_once = 4

    def embed_images(
        self,
        images: Float[Tensor, "batch 3 height width"],
        size: tuple[int, int],
        generators: Sequence[torch.Generator],
    ) -> Condition:
        """See :meth:`VideoGenerator.embed_images`.

        ``image`` [batch, 1, width] is CLIP's vector of the picture, ``first`` [batch, channels, rows, columns] the raw latents
        of the picture at ``size`` with a little noise, ``micro`` [batch, 3] frame rate, amount of motion and that noise.
        """
        from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as public

        encoder, vae = self._part("image_encoder"), self._part("vae")
        side = encoder.config.image_size
        # The blur of the published preprocessing, which no standard resize reproduces.
        small = (public._resize_with_antialiasing(images * 2 - 1, (side, side)) + 1) / 2
        mean, std = (
            torch.tensor(v, dtype=small.dtype, device=small.device).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD)
        )
        vector = encoder(((small - mean) / std).to(encoder.dtype)).image_embeds[:, None]
        frame = images
        if tuple(images.shape[-2:]) != size:
            frame = torch.nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
        # Drawn on the CPU, from a generator per image: neither device nor batch changes the result.
        noise = torch.cat([torch.randn(1, 3, *size, generator=g, dtype=frame.dtype) for g in generators])
        noisy = frame * 2 - 1 + NOISE_AUGMENTATION * noise.to(frame.device)
        # Not scaled: unlike the noisy latents, those of the picture enter the published denoiser raw.
        first = vae.encode(noisy.to(vae.dtype), return_dict=False)[0].mode()
        micro = torch.tensor([[FPS, MOTION, NOISE_AUGMENTATION]], dtype=vector.dtype, device=vector.device)
        return Condition({"image": vector, "first": first, "micro": micro.repeat(len(images), 1)})

    def prediction(
        self,
        noisy: Float[Tensor, "batch channels times rows columns"],
        timesteps: Float[Tensor, " batch"],
        condition: Condition,
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.prediction`: v at latents that the sampler has scaled."""
        dtype = self.denoiser.dtype
        times = noisy.shape[2]
        # The picture's latents stand beside every frame's, on the channels.
        first = condition["first"][:, None].expand(-1, times, -1, -1, -1)
        answer = self.denoiser(
            torch.cat([noisy.transpose(1, 2).to(dtype), first.to(dtype)], dim=2),
            timesteps,
            condition["image"].to(dtype),
            condition["micro"].to(dtype),
            return_dict=False,
        )[0]
        return answer.transpose(1, 2).to(noisy.dtype)

    def _compared(self, condition: Condition, negative: Condition | None, guidance: float, batch: int) -> Condition:
        """The comparison has zeros for the picture and its latents; ``negative`` is not used."""
        if guidance == 1.0:
            return condition
        blank = {name: torch.zeros_like(condition[name]) for name in ("image", "first")}
        return Condition.cat([condition, Condition({**condition.tensors, **blank})])

    def _guidance_weight(self, guidance: float, noisy: Tensor) -> Tensor:
        weight = torch.linspace(1.0, guidance, noisy.shape[2], device=noisy.device, dtype=noisy.dtype)
        return weight.view(1, 1, -1, 1, 1)

    def training_pair(
        self,
        clean: Float[Tensor, "batch channels times rows columns"],
        noise: Float[Tensor, "batch channels times rows columns"],
        level: Float[Tensor, " batch"],
    ) -> TrainingPair:
        """Refused: alignment scores pictures by their prompts."""
        raise ValueError(
            "SVD has no text input, so it cannot be aligned with text rewards; allowed: a text-to-video generator"
        )
