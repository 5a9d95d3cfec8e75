"""Whether a reader of data sets keeps its contract: ``is_scene(folder)`` and ``load(folder)``.

from vist3a.testing.readers import check_reader

check_reader(my_reader, write_a_scene)
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.data.formats.posed import PosedScene, PosedView, PosedViews, rigid_pose
from vist3a.data.picture import picture_endings
from vist3a.data.rejected import RejectedError
from vist3a.testing.comparing import must, refused


def check_reader(
    reader: Any,
    write: Callable[[Path], None],
    *,
    world_to_camera: Sequence[Float[Tensor, "4 4"]] | None = None,
    tolerance: float = 1e-5,
) -> None:
    """Try everything that the contract says on a scene that ``write`` puts into an empty folder.

    Args:
        reader: What is tried, a module or class that knows one layout of folders.
        write: Writes a whole scene of the format, of at least three views, with its pictures in the folder.
        world_to_camera: The poses that it wrote, in the order of the sequence; None: not compared.
        tolerance: Largest allowed difference of a pose's numbers.

    Raises:
        AssertionError: One sentence: what the reader does, and what the contract says.
    """
    name = getattr(reader, "__name__", type(reader).__name__)
    for method in ("is_scene", "load"):
        must(callable(getattr(reader, method, None)), f"{name}: a reader has {method}(folder)")
    with TemporaryDirectory() as place:
        folder = Path(place) / "scene"
        folder.mkdir()
        must(not _recognised(reader, folder, name), f"{name}: an empty folder is no scene, but is_scene says so")
        write(folder)
        before = _content(folder)
        must(_recognised(reader, folder, name), f"{name}: is_scene does not recognize what it reads")
        views = reader.load(folder)
        must(isinstance(views, PosedViews), f"{name}: load gave a {type(views).__name__}; expected PosedViews")
        must(_content(folder) == before, f"{name}: the folder is another one after it was read")
        _check_views(name, folder, views.views)
        _check_poses(name, views.views, world_to_camera, tolerance)
        again = [(view.image, view.world_to_camera.tolist()) for view in reader.load(folder).views]
        first = [(view.image, view.world_to_camera.tolist()) for view in views.views]
        must(again == first, f"{name}: read again, the views are other ones")
        _check_stream(name, folder, reader, len(views.views))
        _check_foreign(name, reader, folder, Path(place))
        _check_damage(name, reader, folder, Path(place), views.views)


def _recognised(reader: Any, folder: Path, name: str) -> bool:
    try:
        found = reader.is_scene(folder)
    except Exception as error:
        raise AssertionError(
            f"{name}: is_scene ends in {type(error).__name__}: {error}; expected: true or false"
        ) from error
    must(isinstance(found, bool), f"{name}: is_scene gave {found!r}; expected: true or false")
    return found


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _check_views(name: str, folder: Path, views: Sequence[PosedView]) -> None:
    must(len(views) >= 3, f"{name}: {len(views)} views of the written scene; expected at least three")
    images = [view.image for view in views]
    must(len(set(images)) == len(images), f"{name}: a picture is listed twice")
    for image in images:
        must(image.is_file(), f"{name}: the picture {image} is not there")
        inside = image.resolve().is_relative_to(folder.resolve())
        must(inside, f"{name}: the picture {image} is not in the folder of the scene")


def _check_poses(name: str, views: Sequence[PosedView], expected: Sequence[Tensor] | None, tolerance: float) -> None:
    for view in views:
        pose = view.world_to_camera
        must(
            tuple(pose.shape) == (4, 4) and pose.dtype == torch.float64,
            f"{name}: the pose of {view.image.name} is {tuple(pose.shape)} {pose.dtype}; expected (4, 4) torch.float64",
        )
        try:
            rigid_pose(pose)
        except RejectedError as error:
            raise AssertionError(f"{name}: {view.image.name}: {error}") from error
    if expected is None:
        return
    must(len(views) == len(expected), f"{name}: {len(views)} views; {len(expected)} were written")
    for view, pose in zip(views, expected, strict=True):
        distance = float((view.world_to_camera - pose.double()).abs().max())
        must(
            distance <= tolerance,
            f"{name}: the pose of {view.image.name} is off what was written by {distance:.2g} (world to camera, OpenCV axes)",
        )


def _check_stream(name: str, folder: Path, reader: Any, count: int) -> None:
    scene = PosedScene(folder, reader.load)
    try:
        frames = list(scene.frames())
        scene.cameras(list(range(count)), 32, 32)
    except RejectedError as error:
        raise AssertionError(f"{name}: curation cannot read the scene: {error}") from error
    must(len(frames) == count, f"{name}: {len(frames)} of {count} views are usable: {scene.content.dropped[:1]}")


def _check_foreign(name: str, reader: Any, folder: Path, place: Path) -> None:
    pictures = place / "pictures"
    pictures.mkdir()
    # The same pictures without the files that make them a scene.
    for path in folder.rglob("*"):
        if path.suffix.lower() in picture_endings():
            shutil.copy(path, pictures / path.name)
    must(
        not _recognised(reader, pictures, name),
        f"{name}: pictures alone are no scene of a data set, but is_scene says so",
    )
    must(not _recognised(reader, place / "nowhere", name), f"{name}: a folder that is not there is said to be a scene")


def _check_damage(name: str, reader: Any, folder: Path, place: Path, views: Sequence[PosedView]) -> None:
    """A picture that is missing costs its view and a sentence; a file that is cut short costs views or all, in a sentence."""
    lacking = place / "lacking"
    shutil.copytree(folder, lacking)
    (lacking / views[1].image.resolve().relative_to(folder.resolve())).unlink()
    try:
        left = PosedScene(lacking, reader.load).content
    except RejectedError as error:
        raise AssertionError(f"{name}: one missing picture costs the whole scene: {error}") from error
    said = len(left.views) == len(views) - 1 and bool(left.dropped)
    must(said, f"{name}: one picture is missing: {len(left.views)} of {len(views)} views, said: {left.dropped}")
    for path in (path for path in sorted(folder.rglob("*")) if path.is_file()):
        if path.suffix.lower() in picture_endings():
            continue
        for part, what in ((0.5, "cut in half"), (0.0, "empty")):
            cut = place / "cut"
            shutil.copytree(folder, cut)
            content = path.read_bytes()
            (cut / path.relative_to(folder)).write_bytes(content[: int(part * len(content))])
            # Fewer views are allowed as well, so that the answer does not matter; other exceptions do.
            try:
                refused(lambda cut=cut: reader.load(cut), RejectedError)  # type: ignore[misc]
            except Exception as error:
                raise AssertionError(
                    f"{name}: {path.name} {what} ends in {type(error).__name__}: {error}; expected a RejectedError or fewer views"
                ) from error
            shutil.rmtree(cut)
