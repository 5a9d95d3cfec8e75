"""Thin nodes: render, search, distil, decode noisy latents, compare, report."""

from __future__ import annotations

from typing import Any

from vist3a.runtime.device import resolve_device
from vist3a_app.pipelines.extract.params import ExtractParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.score.params import ScoreParams
from vist3a_lab.pages.study_chart import study_chart
from vist3a_lab.pipelines.layer_study.distilling import distances, noisy_outputs
from vist3a_lab.pipelines.layer_study.params import LayerStudyParams
from vist3a_lab.pipelines.layer_study.searching import Layer, layers_of, search_for_noise, searching
from vist3a_lab.pipelines.made_on import made_on
from vist3a_lab.procedural import WorldConfig
from vist3a_lab.studies import latent_study, layer_study, noise_study
from vist3a_lab.studies.layer_study import Row, StudyClips

Clips = dict[int, StudyClips]
Layers = dict[int, dict[float, dict[str, Layer]]]
"""By seed and by the share of noise that they were fitted for."""
Noise = dict[str, dict[str, dict[str, Any]]]
"""By seed and share of noise."""


def render_scenes(params: LayerStudyParams, networks: Networks) -> Clips:
    """Clips of every seed."""
    device, counts = resolve_device(networks.device), params.scenes.model_dump()
    worlds = [WorldConfig(seed, params.frames, height=params.height, width=params.width) for seed in params.seeds]
    return {world.seed: layer_study.render_clips(world, counts, device) for world in worlds}


def search_layers(
    params: LayerStudyParams, networks: Networks, extract: ExtractParams, score: ScoreParams, clips: Clips
) -> tuple[dict[str, Any], Layers, Noise]:
    """Scores of all points per seed, their stitch layers, and what noise on the latents makes of both."""
    points = list(networks.load_reconstruction().points_of(extract.kinds))
    match = params.distillation.match
    for name in params.points:
        layer_study.check_entry(points, name, None if match is None else match.point)
    found = {seed: search_for_noise(networks, extract, score, own, params.noise_shares) for seed, own in clips.items()}
    layers = {seed: layers_of(clean, solved) for seed, (clean, solved) in found.items()}
    noise = {str(seed): noise_study.r2_under_noise(clean, solved) for seed, (clean, solved) in found.items()}
    return layer_study.curve({seed: clean.scores for seed, (clean, _) in found.items()}), layers, noise


def distil_points(
    params: LayerStudyParams, networks: Networks, clips: Clips, curves: dict[str, Any], layers: Layers
) -> list[Row]:
    """A row per seed and point: its R^2, and the distance of its outputs to the original's before and after distillation."""
    how, rows = params.distillation, []
    for seed, own in clips.items():
        fit, heldout = own.clips("fit"), own.clips("heldout", how.measured_clips)
        for point in params.points:
            found = distances(networks, how, layers[seed][0.0][point], fit, heldout, f"layer_study/{seed}/{point}")
            about = {
                "seed": seed,
                "point": point,
                "index": curves[point]["index"],
                "r2": curves[point]["r2"][str(seed)],
            }
            rows.append({**about, **found})
    return rows


def decode_under_noise(
    params: LayerStudyParams, networks: Networks, clips: Clips, layers: Layers, noise: Noise
) -> Noise:
    """Adds the errors of the stitched networks' outputs at the points that are distilled elsewhere."""
    found: Noise = {str(seed): {} for seed in clips}
    for seed, own in clips.items():
        shown = own.clips("heldout", params.distillation.measured_clips)
        for share, by_point in layers[seed].items():
            fitted = {point: by_point[point] for point in params.points}
            outputs = noisy_outputs(networks, fitted, shown, share, seed)
            found[str(seed)][f"{share:g}"] = {**noise[str(seed)][f"{share:g}"], "outputs": outputs}
    return found


def compare_latents(
    params: LayerStudyParams, networks: Networks, extract: ExtractParams, score: ScoreParams, clips: Clips
) -> dict[str, dict[str, Any]]:
    """Every kind of latent input at the first of the points, per seed."""
    device = resolve_device(networks.device)
    generator, network = networks.load_generator("vae"), networks.load_reconstruction()
    point = network.stitch_point(params.points[0])
    found = {}
    for seed, own in clips.items():
        found[seed] = latent_study.compare_latents(
            generator, network, point.name, searching(networks, extract, score, own, [point.name]), own,
            measured=params.distillation.measured_clips, batch=extract.batch, device=device, seed=extract.seed,
        )  # fmt: skip
    return {kind: {str(seed): by_kind[kind] for seed, by_kind in found.items()} for kind in latent_study.LATENTS}


def report_study(
    params: LayerStudyParams,
    networks: Networks,
    curves: dict[str, Any],
    rows: list[Row],
    latents: dict[str, dict[str, Any]],
    noise: Noise,
) -> tuple[dict[str, Any], Any]:
    """The report and its picture."""
    report = {
        "seeds": list(params.seeds),
        "device": made_on(networks.device),
        "noise": noise,
        "noise_statement": noise_study.noise_statement(noise),
        "scenes": params.scenes.model_dump(),
        "curve": curves,
        "distillation": params.distillation.model_dump(include={"tuning", "match", "loop", "measured_clips"}),
        "distilled": rows,
        "latents": latents,
        "latents_statement": latent_study.latents_statement(latents),
        **layer_study.conclusions(rows),
    }
    return report, study_chart(report)
