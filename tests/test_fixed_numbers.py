"""Numbers that formats, papers and documents fix, or that are part of every seeded result, and settings that nobody gives."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

import pytest

from vist3a.alignment import align_settings, drift, watch
from vist3a.alignment.rewards import geometry as reward_geometry
from vist3a.distillation import color_jitter, distill_loss, latent_noise, match_outputs, match_tokens, photometric
from vist3a.export import agreement, collision, compressed_ply, depth, fusion, glb_file, gltf, sog, spz, usd, viewer
from vist3a.export import cameras as camera_file
from vist3a.export import scene as scene_files
from vist3a.export import video as video_files
from vist3a.geometry import ground, object_space_pose, pointmap_cameras, spherical_harmonics
from vist3a.metrics import (
    aggregate,
    by_kind,
    efficientnet,
    epipolar,
    image,
    off_path,
    permutation,
    pose_transfer,
    surface,
    video,
    vmaf,
    warping,
)
from vist3a.rendering import base as rendering
from vist3a.rendering import splats
from vist3a.shortening import flow_map, shorten_settings
from vist3a.stitching import artifact, extract, layer_search, released, tap
from vist3a.stitching.grids import StitchSpec

CONSTANTS: dict[ModuleType, dict[str, Any]] = {
    # gsplat's rasterization; an opaque Gaussian is below 1/255 beyond sqrt(2 ln 255) deviations.
    rendering: {
        "NEAR_PLANE": 0.01, "DILATION": 0.3, "ALPHA_MIN": 1 / 255, "ALPHA_MAX": 0.999, "TRANSMITTANCE_MIN": 1e-4,
    },
    splats: {"SPLAT_ROWS": 10, "REACH": 3.33},
    # Sloan's polynomials up to degree 4, of which glTF and SPZ hold three.
    spherical_harmonics: {"MAX_DEGREE": 4, "BAND_ZERO": 0.28209479177387814},
    gltf: {"MAX_DEGREE": 3},
    glb_file: {
        "MAGIC": int.from_bytes(b"glTF", "little"), "JSON_CHUNK": int.from_bytes(b"JSON", "little"),
        "BINARY_CHUNK": int.from_bytes(b"BIN\0", "little"), "FLOAT": 5126, "UNSIGNED_SHORT": 5123, "VERTICES": 34962,
        "INDICES": 34963, "UNSIGNED_INT": 5125, "POINTS": 0, "TRIANGLES": 4,
    },
    spz: {
        "MAGIC": 0x5053474E, "VERSION": 3, "MAX_DEGREE": 3, "MAX_GAUSSIANS": 10_000_000, "COLOR_SCALE": 0.15,
        "LOG_SCALE_MIN": -10.0, "LOG_SCALE_STEP": 1 / 16, "MAX_FRACTION_BITS": 16, "ROTATION_LEVELS": 511,
    },
    depth: {"LEVELS": 2**16 - 1},
    camera_file: {"UNCHANGED": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]},
    scene_files: {"FRAMES_PER_SECOND": 8.0, "NAME_LENGTH": 60},
    viewer: {
        "MAX_GAUSSIANS": 400_000, "MAX_POINTS": 80_000, "MAX_DEPTH_SIDE": 256, "DROPPED_POINTS": 0.1, "SHEET_COLUMNS": 4,
    },
    # Wang et al. (2004); the paper's and XFactor's protocols.
    image: {"WINDOW": 11, "SIGMA": 1.5},
    aggregate: {"RESAMPLES": 2000, "NESTED_RESAMPLES": 10_000},
    by_kind: {"WORST": 3},
    permutation: {"MOST": 8},
    pose_transfer: {"THRESHOLD": 20},
    # Part of every seeded report, and fixed before what it was measured on.
    agreement: {"TOLERANCE": 0.1},
    collision: {"LARGEST_HOLE": 0.02, "CELLS": 48, "DIRECTIONS": 32},
    compressed_ply: {"MAX_DEGREE": 3},
    sog: {"MAX_DEGREE": 3},
    efficientnet: {"SIZE": 224, "GRID": 14, "BLOCK": 10, "SHIFT": 127, "SCALE": 128},
    vmaf: {"LUMA": (0.299, 0.587, 0.114), "SMALLEST": 24},
    warping: {"HIDDEN": 0.05, "LEAST_SEEN": 0.25},
    epipolar: {"FRAMES": 5, "CONTRAST": 0.005, "RATIO": 0.85, "LARGEST_ERROR": 0.2, "LEAST_MATCHES": 8},
    fusion: {"BLOCK": 8, "OUTLIERS": 0.005},
    ground: {
        "TRIES": 512, "SAMPLE": 8000, "SEED": 0, "TOLERANCE": 0.015, "LEAST_SHARE": 0.12, "STEEPEST": 0.4, "ROLL": 0.15,
    },
    off_path: {
        "BETWEEN": 4, "DEGREES": 12.0, "PLACES": (0.15, 0.5, 0.85), "HOLE_WEIGHT": 0.1, "MOST_OPPOSED": 0.25,
        "LARGEST_GAP": 0.2, "FLOOR": 1e-6,
    },
    usd: {"MAX_DEGREE": 3},
    video_files: {"BITS_PER_PIXEL": 32},
    surface: {"ICP_STEPS": 30, "ICP_TOLERANCE": 1e-6},
    video: {"FLICKER_FRAMES": 3},
    object_space_pose: {"START_STEPS": 30, "ROUND_STEPS": 5},
    pointmap_cameras: {"PIXEL_FLOOR": 0.01, "POSE_POINTS": 6400, "ROUNDS": 10},
    reward_geometry: {"TOLERANCE": 0.05, "GAP": 4, "FLOOR": 1e-8},
    drift: {"PROBABILITY": 0.05},
    watch: {"PREVIEW_VIEWS": 4},
    # Of a noise level of 1, as diffusers counts.
    flow_map: {"TIMESTEPS": 1000},
    # ITU-R BT.601; VGGT's gradient loss; projections of Hutchinson's estimate.
    color_jitter: {"GRAY": (0.299, 0.587, 0.114)},
    distill_loss: {"GRADIENT_LIMIT": 100.0},
    match_tokens: {"PROBES": 2},
    released: {"ALPHA": 32.0},
    layer_search: {"SELECTION": 0.1, "HELDOUT": 0.2},
    artifact: {"FORMAT": 1},
}  # fmt: skip
DEFAULTS: dict[type, dict[str, Any]] = {
    align_settings.AlignSettings: {
        "variant": "drtune", "gradient_batch": 1, "flow_shift": None, "decoded_views": None, "term_gradients_every": 0,
        "motion_bar": 0.85, "frames_apart": False, "views_at_once": None, "clips_at_once": None, "noises_per_prompt": 1,
        "regularizer": "generative",
    },
    shorten_settings.ShortenSettings: {
        "counts": (1, 2, 4, 8), "path_steps": 24, "flow_shift": None, "on_policy": 0.5, "uses": 1, "paths_at_once": None,
    },
    align_settings.WatchConfig: {
        "judge_every": 0, "previews_every": 0, "prompts": 2, "drift_window": 5, "films_every": 0, "films_clips": 32,
    },
    latent_noise.LatentNoise: {"share": 0.8},
    match_outputs.MatchOutputsConfig: {
        "features": (), "heads_every": 1, "mirror": False, "color_jitter": None, "latents": "mode", "noise": None,
        "photometric": None, "weights": distill_loss.DistillWeights(),
    },
    match_tokens.MatchTokensConfig: {
        "inner": (), "inner_weight": 0.5, "early": 0.0, "mirror": True, "views": None, "sensitivity": 0.0,
        "sensitivity_clips": 8, "sensitive": ("depth", "translations", "rotations"), "noise": None,
    },
    photometric.Photometric: {"weight": 1.0, "views": 3, "clips": None, "squared": 6.0, "absolute": 0.5},
    scene_files.ExportSettings: {
        "smoothing": 0.0, "max_gaussians": None, "min_opacity": 0.0, "voxel_size": None, "drop_points": 0.1,
        "turntable_frames": 60, "turntable_size": 192, "viewer": True, "formats": (), "target": "network", "scale": None,
        "level": False, "mesh_voxels": None, "collision_faces": 4000,
    },
    extract.TapConfig: {
        "kernel": (5, 3, 3), "stride": None, "padding": None, "padding_mode": "replicate", "interpolation": "corners",
        "latents": "mode", "latent_space": "raw", "seed": 0, "frames": None,
    },
    tap.TapSettings: {"sample_seed": None, "normalised": False, "frames": None},
    StitchSpec: {"interpolation": "corners"},
    layer_search.LayerSearch: {"noise": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("module", CONSTANTS, ids=lambda module: module.__name__)
def test_numbers_are_those_of_their_sources(module: ModuleType) -> None:
    assert {name: getattr(module, name) for name in CONSTANTS[module]} == CONSTANTS[module]


@pytest.mark.parametrize("settings", DEFAULTS, ids=lambda settings: settings.__name__)
def test_settings_that_nobody_gives_are_the_documented_ones(settings: type) -> None:
    given = {field.name: field.default for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    assert {name: value for name, value in given.items() if value is not dataclasses.MISSING} == DEFAULTS[settings]
