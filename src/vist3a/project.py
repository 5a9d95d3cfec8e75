"""A project from Python: its networks, loaded and ready for prompts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vist3a.generation.text_to_3d import TextTo3D

GROUP = "vist3a.projects"


def load(
    project: Path | str = ".",
    *,
    pair: str | None = None,
    preset: str | None = None,
    env: str | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> TextTo3D:
    """Networks of the project at ``project`` after its decoder was made (``make stitch``), ready for prompts.

    A project is a folder of the application that is installed beside this library; it says what belongs to a project. A bundle,
    the folder that a registered generator is served from, loads in the same way.

    Args:
        project: Folder with ``conf`` and ``data``, where paths of the configuration start; or a bundle (``parameters.json``).
        pair: Generator and 3D network, as ``wan+vggt``; None: as configured. A bundle has its own, and no preset or overlay.
        preset: ``paper`` or ``released``; None: none.
        env: Overlay in ``conf``, as ``kedro run --env``.
        parameters: Changes by group, as ``kedro run --params``: ``{"generate": {"steps": 12}, "networks": {"device": "cpu"}}``.

    Raises:
        FileNotFoundError: There is no such project, its networks have not been made, or public weights cannot be had: the
            sentence names them, and their licence is told before.
        ModuleNotFoundError: No application is installed.
        ValueError: Decoder, adapter or bundle are of other networks; the sentence says of which.

    Example:
        >>> text_to_3d = vist3a.load()
        >>> text_to_3d.generate("a red sphere on a wooden floor").save("scenes")
    """
    found = list(entry_points(group=GROUP))
    if not found:
        raise ModuleNotFoundError(
            "vist3a.load reads projects with the application vist3a_app, which is not installed; allowed: pip install vist3a, or "
            "load_generator, load_reconstruction and load_decoder"
        )
    made: TextTo3D = found[0].load()(project, pair=pair, preset=preset, env=env, parameters=parameters)
    return made
