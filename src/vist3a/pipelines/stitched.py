"""Loading a finetuned stitched decoder: the same steps as when it was made."""

from __future__ import annotations

from pathlib import Path

from vist3a.engine.device import resolve_device
from vist3a.pipelines.distill.params import DistillParams
from vist3a.pipelines.networks import Networks
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.store import load_fit
from vist3a.stitching.tuning import load_trained, prepare


def load_decoder(networks: Networks, distill: DistillParams, folder: Path) -> StitchedDecoder:
    """The decoder that the distill pipeline wrote to ``folder``, frozen."""
    fit, spec = load_fit(folder)
    decoder = StitchedDecoder(networks.load_reconstruction(), spec, fit)
    prepare(decoder, distill.tuning, distill.lora_rank, distill.lora_alpha)
    load_trained(folder, decoder)
    return decoder.requires_grad_(False).eval().to(resolve_device(networks.device))
