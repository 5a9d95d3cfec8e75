"""One stitch point: distilled and measured; and the stitched networks of several points under noise, as they were fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vist3a.distillation.distill import DistillSettings, distill
from vist3a.records import Clip
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.runtime.step_log import Log, step_log
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import output_distance, stitched
from vist3a.stitching.tuning import prepare
from vist3a_app.pipelines.distill.params import DistillParams
from vist3a_app.pipelines.networks import Networks
from vist3a_lab.pipelines.layer_study.searching import Layer
from vist3a_lab.studies.noise_study import outputs_under_noise


def distances(
    networks: Networks, how: DistillParams, layer: Layer, fit: Sequence[Clip], heldout: Sequence[Clip], name: str
) -> dict[str, dict[str, float]]:
    """Distance of the outputs to the original network's ``before`` and ``after`` distillation; ``name`` is that of the log."""
    device = resolve_device(networks.device)
    generator, teacher, render = networks.load_generator("vae"), networks.load_reconstruction(), renderer_for(device)
    fitted, spec = layer
    decoder = StitchedDecoder(networks.load_reconstruction(), spec, fitted).to(device)
    prepare(decoder, how.tuning, how.lora_rank, how.lora_alpha)
    before = output_distance(stitched(decoder, generator), teacher, heldout, device, render)
    distill(decoder, teacher, generator, fit, how.part(DistillSettings), logs=_one_log(name))
    return {
        "before": before,
        "after": output_distance(stitched(decoder, generator), teacher, heldout, device, render),
    }


def noisy_outputs(
    networks: Networks, layers: Mapping[str, Layer], clips: Sequence[Clip], share: float, seed: int
) -> dict[str, dict[str, float]]:
    """Distance of the outputs under noise to the original network's on the true frames, by point; none is distilled."""
    device = resolve_device(networks.device)
    generator, original = networks.load_generator("vae"), networks.load_reconstruction()
    # They share the original network: nothing is trained here, and each adds its layer alone.
    decoders = {name: StitchedDecoder(original, spec, fit).to(device) for name, (fit, spec) in layers.items()}
    return outputs_under_noise(generator, original, decoders, clips, share, seed, device)


def _one_log(name: str) -> Callable[[str], Log]:
    """Both rounds of a distillation draw one curve."""
    log = step_log(name)
    return lambda _: log
