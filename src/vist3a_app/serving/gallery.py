"""Scenes that are finished: folders on disk, which outlive the server."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vist3a.runtime.atomic import remove_leftovers
from vist3a_app.serving.service import MissingError

ABOUT, VIEWER = "prompt.json", "viewer.html"
"""What a scene is of, written when its other files are there; and its page, where there is one."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gallery:
    """The scenes in the folder ``root``: those of this server and all others that were written there.

    Example:
        >>> Gallery(Path("generated")).scenes()[0]["prompt"]
        'a red ball'
    """

    root: Path

    def open(self) -> None:
        """Make the folder where there is none, and remove what a killed server left unfinished.

        Raises:
            ValueError: It cannot be a folder for scenes.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"--out {self.root}: {error}; allowed: a folder that can be written to") from error
        remove_leftovers(self.root)

    def scenes(self) -> list[dict[str, Any]]:
        """Name, prompt and facts of all scenes, the newest first."""
        found = []
        for folder in self.root.iterdir():
            try:
                found.append(((folder / ABOUT).stat().st_mtime, self._about(folder.name)))
            except (MissingError, OSError):  # no scene, or one that was deleted just now
                continue
        return [about for _, about in sorted(found, key=lambda one: (-one[0], one[1]["name"]))]

    def scene(self, name: str) -> dict[str, Any]:
        """Name, prompt and facts of one scene, whether it has a viewer, and its files with their bytes.

        Raises:
            MissingError: There is none of this name.
        """
        return {
            **self._about(name),
            "files": {path: (self.root / name / path).stat().st_size for path in self.files(name)},
        }

    def files(self, name: str) -> list[str]:
        """Paths of the files of a scene in its folder, those in folders last.

        Raises:
            MissingError: There is no such scene.
        """
        folder = self._folder(name)
        inside = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        shown = [path for path in inside if not any(part.startswith(".") for part in path.parts)]
        return [path.as_posix() for path in sorted(shown, key=lambda path: (len(path.parts) > 1, path.as_posix()))]

    def file(self, name: str, path: str) -> Path:
        """One of :meth:`files`; no name and no link leads out of the scene's folder.

        Raises:
            MissingError: There is no such file.
        """
        folder = self._folder(name)
        place = (folder / path).resolve()
        if path not in self.files(name) or not place.is_relative_to(folder.resolve()):
            raise MissingError(f"scene {name} has no file {path}; allowed: those that GET /scenes/{name} lists")
        return place

    def delete(self, name: str) -> None:
        """Remove a scene with all of its files.

        Raises:
            MissingError: There is none of this name.
        """
        folder = self._folder(name)
        # It is gone at once; under a name that `remove_leftovers` knows, should this process be killed now.
        going = folder.with_name(f".{name}.{os.getpid()}.part")
        os.replace(folder, going)
        shutil.rmtree(going, ignore_errors=True)

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        # An empty name, and one with slashes, are not the name of the folder that they lead to.
        if name.startswith(".") or folder.name != name or not (folder / ABOUT).is_file():
            raise MissingError(f"there is no scene {name}; allowed: one of GET /scenes")
        return folder

    def _about(self, name: str) -> dict[str, Any]:
        folder = self._folder(name)
        try:
            facts = dict(json.loads((folder / ABOUT).read_text(encoding="utf-8")))
            prompt = str(facts.pop("prompt"))
        except (ValueError, TypeError, KeyError) as error:
            logger.warning("%s is no scene: %s in its %s", folder, error, ABOUT)
            raise MissingError(f"there is no scene {name}; allowed: one of GET /scenes") from error
        return {"name": name, "prompt": prompt, "facts": facts, "viewer": (folder / VIEWER).is_file()}
