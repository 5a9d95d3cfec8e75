"""A tiny project after the stages before, and what each stage that workers do leaves in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import tiny_chain

STAGES = ("curate", "extract", "generate", "evaluate")
BEFORE = ("curate", "extract", "score", "distill", "align")
PROMPTS = ("red ball", "green ball", "blue ball", "red box", "green box")
STATE = Path("data/06_models/checkpoints")
# The one encoder that does not give the same bytes for the same frames.
VIDEO = re.compile(rb'data:video/mp4;base64,[^"]*')
RESULTS = ("data/03_primary", "data/04_feature", "data/07_model_output", "data/08_reporting")
NAMED = {
    "curate": "clips|clip_index|quarantine|curate", "extract": "moments|extract", "generate": "generated|viewers",
    "evaluate": "evaluate",
}  # fmt: skip
WORKERS = {"processes": "spawn_main", "ray": "ray::_Actor"}


def create(root: Path, before: Sequence[str] = BEFORE) -> dict[str, Any]:
    """The project in ``root``, which must be the working directory, after some stages; its parameters."""
    tiny_chain.create(root, ["wan"], [tiny_chain.RECONSTRUCTIONS["anysplat"]], clips=False)
    values = tiny_chain.chosen(root, "wan", "anysplat")
    (root / "prompts.txt").write_text("\n".join(PROMPTS))
    values["curate"] = {**tiny_chain.SIZES, "procedural": {"scenes": 12}}
    values["extract"] |= {"shard": 2, "batch": 1}
    values["generate"] |= {"prompts_file": str(root / "prompts.txt")}
    values["evaluate"] |= {"prompts": 5, "batch": 2, "pictures": 3, "diversity": {"prompts": 3, "noises": 2}}
    for stage in before:
        tiny_chain.run(root, stage, values)
    return values


def forget(root: Path, stage: str) -> None:
    """Remove what a stage has left, finished or not."""
    for path in outputs(root, stage):
        path.unlink()
    shutil.rmtree(root / STATE, ignore_errors=True)


def outputs(root: Path, stage: str) -> list[Path]:
    """Files that a stage has left under their final names."""
    files = [path for folder in RESULTS for path in (root / folder).rglob("*") if path.is_file()]
    return [path for path in files if re.search(rf"/({NAMED[stage]})", str(path.relative_to(root)))]


def results(root: Path, stage: str) -> dict[str, bytes]:
    """Files by name. Nothing of the unfinished state is left."""
    assert not [path for path in (root / STATE).rglob("*") if path.is_file()]
    found = {str(path.relative_to(root)): path for path in outputs(root, stage)}
    assert found
    return {name: VIDEO.sub(b"", path.read_bytes()) for name, path in found.items() if path.suffix != ".mp4"}


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names of files that are not the same, or that only one side has."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def kept(root: Path) -> list[Path]:
    """Files of the unfinished state that are whole."""
    while True:
        try:
            return [path for path in (root / STATE).rglob("*") if path.is_file() and ".part" not in str(path)]
        except FileNotFoundError:  # a temporary folder went while it was looked into
            continue


def finished(root: Path) -> list[Path]:
    """Of these, files of work that no other run has to do again: a clip is there with its note, which is written last."""
    whole = kept(root)
    return [path for path in whole if not path.name.startswith("scene-") or path.with_suffix(".json") in whole]


def workers_of(kind: str, driver: int | None = None) -> list[psutil.Process]:
    """Processes of workers that a driver (None: this process) has started."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        try:
            if WORKERS[kind] in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # it has just ended
            continue
    return found
