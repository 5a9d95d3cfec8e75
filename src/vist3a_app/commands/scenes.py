"""Commands on scenes: reconstruct a folder or video, export to other formats, view in the browser, serve the generator."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vist3a.export.formats import AssetSettings, Exported
    from vist3a.export.gaussian_file import GaussianFile
    from vist3a.generation.improvement import ImprovementSettings

GAUSSIANS = "gaussians.ply"
# The keys of vist3a.export.placement.TARGETS, which loads torch.
TARGETS = ("network", "gltf", "blender", "nerfstudio", "unity", "unreal")


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="scenes", show_default=True)
@click.option(
    "--views", type=click.IntRange(min=2), default=13, show_default=True, help="At most so many of every clip."
)
@click.option("--order", type=click.Choice(["given", "similarity"]), default="given", show_default=True)
@click.option("--pair", metavar="G+N", help="Whose 3D network, as wan+vggt. Default: the embedded one.")
@click.option("--device", default=None, help="cpu, cuda, cuda:1, or auto.")
def reconstruct(source: Path, out: Path, views: int, order: Any, pair: str | None, device: str | None) -> None:
    """Make 3D of SOURCE, a video, a folder of images, or a folder of many, with the pairing's 3D network alone."""
    from vist3a_app.reconstruction import reconstruct_folder

    for name, folder in reconstruct_folder(source, out, views, order, pair, device):
        click.echo(f"{name}: {folder}")


@click.command()
@click.argument("scene", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--to",
    "form",
    required=True,
    metavar="NAME",
    help="ply, compressed_ply, sog, spz, glb, mesh, mesh_ply, collision, usd, or an exporter of your own.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Default: beside the scene's other files.")
@click.option("--max-gaussians", type=click.IntRange(min=1), help="Of the most opaque and largest so many.")
@click.option("--target", type=click.Choice(TARGETS), default="network", show_default=True, help="Whose axes and unit.")
@click.option("--scale", metavar="SCALE", help="Meters of the scene's unit, as 0.8, or 'camera height 1.6'.")
@click.option("--level", is_flag=True, help="Turn the ground level, at height 0.")
@click.option("--filter", "drop", is_flag=True, help="Leave out Gaussians that the scene's views disagree with.")
@click.option(
    "--refine", type=click.IntRange(min=0), default=0, help="Steps of fitting Gaussians to the scene's frames."
)
def export(
    scene: Path,
    form: str,
    out: Path | None,
    max_gaussians: int | None,
    target: str,
    scale: str | None,
    level: bool,
    drop: bool,
    refine: int,
) -> None:
    """Write SCENE (its folder, or a PLY file of Gaussians) in another format.

    Of exporters of your own, NAME is an entry point of the group vist3a.exporters, or a place, package.module:name. Points they
    are given are the depth maps of the folder, seen through its cameras.
    """
    from vist3a import registry
    from vist3a.export.formats import AssetSettings, check_formats
    from vist3a.export.gaussian_file import GaussianFile
    from vist3a.generation.improvement import ImprovementSettings

    check_formats([form], "--to")
    settings = AssetSettings(target=target, scale=scale, level=level)  # type: ignore[arg-type] # click has checked the name
    exporter = registry.find("exporters", form)
    if out is not None and out.is_dir():
        raise ValueError(f"--out: {out} is a folder; allowed: a file")
    if isinstance(exporter, GaussianFile):
        click.echo(_gaussians(scene, exporter, out, max_gaussians, settings, ImprovementSettings(refine, filter=drop)))
    elif scene.is_file():
        raise ValueError(
            f"--to {form}: {scene} holds Gaussians alone; allowed: the folder of a scene, or --to ply, compressed_ply, sog, spz "
            "or glb"
        )
    else:
        click.echo(_whole_scene(scene, form, out, max_gaussians, settings, ImprovementSettings(refine, filter=drop)))


def _gaussians(
    scene: Path,
    exporter: GaussianFile,
    out: Path | None,
    max_gaussians: int | None,
    settings: AssetSettings,
    improvement: ImprovementSettings,
) -> str:
    """Write the Gaussians alone; what was written, for people."""
    from vist3a.export.ply import load_gaussians
    from vist3a.export.saved_scene import read_scene
    from vist3a.export.thinning import prune

    file = scene / GAUSSIANS if scene.is_dir() else scene
    if not file.is_file():
        raise FileNotFoundError(
            f"{scene} holds no {GAUSSIANS}; allowed: a folder of a scene with Gaussians, or a PLY file"
        )
    # A name may end in two suffixes, as gaussians.compressed.ply does.
    place = out or file.with_name(file.stem + exporter.name[exporter.name.index(".") :])
    if place.resolve() == file.resolve():
        raise ValueError(f"--out: {place} is what is read; allowed: another file")
    # The ground and what views agree with ask for more than the Gaussians.
    better = improvement.filter or improvement.refine_steps > 0
    if better and not scene.is_dir():
        raise ValueError(f"--filter, --refine: {scene} holds Gaussians alone; allowed: the folder of a scene")
    asks = better or settings.level or str(settings.scale).startswith("camera")
    whole = _improved(read_scene(scene), improvement) if asks and scene.is_dir() else None
    gaussians = load_gaussians(file) if whole is None or whole.gaussians is None else whole.gaussians
    gaussians = prune(gaussians, max_gaussians=max_gaussians)
    exporter.save(place, gaussians, settings, None if whole is None else whole.scene)
    return f"{place}: {gaussians.means.shape[1]} Gaussians"


def _improved(exported: Exported, settings: ImprovementSettings) -> Exported:
    """With Gaussians that were filtered and refined as asked."""
    import torch

    from vist3a.generation.improvement import improve
    from vist3a.rendering import renderer_for

    if exported.gaussians is None or not (settings.filter or settings.refine_steps):
        return exported
    render = renderer_for(torch.device("cpu"))
    better, figures = improve(exported.gaussians, exported.scene, exported.frames, render, settings)
    click.echo(", ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    return replace(exported, gaussians=better)


def _whole_scene(
    folder: Path,
    form: str,
    out: Path | None,
    max_gaussians: int | None,
    settings: AssetSettings,
    improvement: ImprovementSettings,
) -> str:
    """Write a scene by an exporter that may read all of it; the path, for people."""
    from vist3a.export.formats import write_formats
    from vist3a.export.saved_scene import read_scene
    from vist3a.export.thinning import prune

    exported = replace(_improved(read_scene(folder), improvement), settings=settings)
    if exported.gaussians is not None:
        exported = replace(exported, gaussians=prune(exported.gaussians, max_gaussians=max_gaussians))
    if out is None:
        return str(write_formats([form], folder, exported, "--to")[form])
    out.parent.mkdir(parents=True, exist_ok=True)
    # An exporter chooses its own file name: it writes beside the place, and the result is renamed.
    with TemporaryDirectory(dir=out.parent) as beside:
        os.replace(write_formats([form], Path(beside), exported, "--to")[form], out)
    return str(out)


@click.command()
@click.argument("scene", default="")
@click.option("--port", type=int, default=8000, show_default=True)
def view(scene: str, port: int) -> None:
    """Show SCENE (a folder, its viewer.html, or a name; the newest without one) in the browser, on this machine only."""
    from vist3a.export.serve import show

    show(scene, port)


@click.command()
@click.option(
    "--port", type=int, default=5001, show_default=True, envvar="SERVE_PORT", help="0: a free one. Also as SERVE_PORT."
)
@click.option(
    "--model",
    default="models:/vist3a/latest",
    show_default=True,
    help="A registered generator, or the folder of a bundle or project.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="For scenes. Default: generated.")
@click.option("--device", help="cpu, cuda, cuda:1, or auto.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Another address lets other machines ask, with a token: VIST3A_TOKEN, else a new one.",
)
def serve(port: int, model: str, out: Path | None, device: str | None, host: str) -> None:
    """Put a generator behind HTTP: a page to try it, a queue, and POST /invocations {"prompt": "a red sphere"}."""
    import vist3a
    from vist3a_app.hooks.generator_model import registered_bundle
    from vist3a_app.serving import http_door
    from vist3a_app.serving.access import token_for
    from vist3a_app.serving.gallery import Gallery
    from vist3a_app.serving.service import SceneService, output_folder

    token, output = token_for(host), output_folder(out)
    gallery = Gallery(output)
    # First what can be refused, and then networks are loaded.
    gallery.open()
    with http_door.bound(host, port) as listening:
        folder = registered_bundle(model) if model.startswith("models:/") else Path(model)
        given = {} if device is None else {"networks": {"device": device}}
        service = SceneService(vist3a.load(folder, parameters=given), output)
        click.echo(f"{http_door.address(host, listening, token)}  (Ctrl-C ends it)")
        http_door.serve(http_door.application(service, gallery, token), listening)
