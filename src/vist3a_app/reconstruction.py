"""Folders and videos -> 3D, by the 3D network of a pairing alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from vist3a.data.reading import Order, read_clip
from vist3a.data.rejected import RejectedError
from vist3a.data.sources import scan
from vist3a.export.scene import ExportSettings, gaussians_to_write, save_scene
from vist3a.export.viewer import Caption
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.stitching.stitch import reconstruct
from vist3a_app.configuration import PAIR, LayeredConfigLoader
from vist3a_app.pipelines.curate.params import CurateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.settings import CONFIG_LOADER_ARGS

logger = logging.getLogger(__name__)


def reconstruct_folder(
    source: Path, out: Path, views: int, order: Order, pair: str | None, device: str | None
) -> Iterator[tuple[str, Path]]:
    """Write a scene below ``out`` for every clip that ``source`` offers; (name, folder) of each as it is done.

    Clips that fail a check of ``curate.checks`` are left out with a warning.

    Raises:
        ValueError: Nothing in ``source`` is a usable clip; the sentence says why.
    """
    given = {PAIR: pair, "networks": None if device is None else {"device": device}}
    given = {name: value for name, value in given.items() if value is not None}
    groups = LayeredConfigLoader("conf", runtime_params=given, **CONFIG_LOADER_ARGS)["parameters"]
    networks, curate = Networks(**groups["networks"]), CurateParams(**groups["curate"])
    # A video is found through its folder.
    candidates = scan(source if source.is_dir() else source.parent)
    if source.is_file():
        candidates = [one for one in candidates if Path(one.location).name == source.name]
    at, refused, done = resolve_device(networks.device), [], 0
    network, render = networks.load_reconstruction(), renderer_for(at)
    for candidate in candidates:
        try:
            clip = read_clip(candidate, views, curate.height, curate.width, curate.checks, order)
        except RejectedError as error:
            refused.append(f"{candidate.location}: {error}")
            logger.warning("left out: %s", refused[-1])
            continue
        # At the size of the network, which is also that of the pictures that are written.
        frames = network.fit((clip.frames.float() / 255)[None].to(at))
        scene = reconstruct(frames, network)
        settings = ExportSettings()
        gaussians = None if scene.gaussians is None else gaussians_to_write(scene.gaussians, scene, settings)
        caption = Caption(clip.caption or clip.name, {"source": candidate.location, "views": frames.shape[1]})
        folder = out / clip.name
        save_scene(folder, caption, frames, scene, gaussians, render, settings)
        done += 1
        yield clip.name, folder
    if not done:
        raise ValueError(
            f"{source}: no clip can be used ({'; '.join(refused[:3]) or 'nothing was found'}); allowed: a video, a folder of "
            "images, or a folder of such"
        )
