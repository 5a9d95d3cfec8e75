"""``cut_driver.py FOLDER HOW``: every way that we write a file or folder, cut off in the middle by the operating system.

FOLDER is empty. HOW is ``killed``: the process dies within the write that reaches LIMIT bytes; ``limited``: that write fails;
``full``: FOLDER becomes a disk of half a MiB (for this, start in a mount namespace of its own). Prints a line of JSON per way:
what the writing process ended with, and whether the old content still stands.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from kedro.io import DatasetError
from matplotlib.figure import Figure as Drawing

from vist3a.adapters.lora import add_lora, save_lora
from vist3a.data.clip_store import write_clip
from vist3a.export.video import save_video
from vist3a.generators.condition_store import ConditionStore
from vist3a.records import Clip, Condition
from vist3a.runtime.atomic import remove_leftovers
from vist3a.runtime.checkpoint import save_checkpoint
from vist3a.stitching.store import save_tensors
from vist3a.weights.weight_files import save_folder
from vist3a_app.datasets.figure import Figure
from vist3a_app.datasets.folder import FolderDataset
from vist3a_app.datasets.image import PngImage
from vist3a_app.datasets.json_report import JsonReport
from vist3a_app.datasets.parquet_table import ParquetTable
from vist3a_app.datasets.text_file import TextFile

LIMIT = 2**16


def noise(side: int) -> torch.Tensor:
    """Nothing compresses it: side^2 * 3 bytes at least in any format."""
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(side))


def views(side: int) -> torch.Tensor:
    return torch.stack([noise(side).roll(view, -1).roll(3 * view, -2) for view in range(9)])


def words(side: int) -> str:
    return noise(side).numpy().tobytes().hex()


def drawing(side: int) -> Drawing:
    figure = Drawing(figsize=(side / 50, side / 50))
    figure.figimage(noise(side).permute(1, 2, 0).numpy())
    return figure


def adapted(side: int) -> Any:
    """A network with an adapter of rank ``side``."""
    from diffusers import WanTransformer3DModel

    denoiser = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8, freq_dim=8, ffn_dim=16,
        num_layers=1,
    )  # fmt: skip
    add_lora(denoiser, side, 4.0, ["to_q", "to_k", "to_v"], seed=side)
    return denoiser


def fill(side: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for number in range(3):
            (folder / f"{number}.txt").write_text(words(side))

    return write


# Each writes to a path within the given folder, little for a small side, far more than LIMIT for a large one.
WAYS: dict[str, Callable[[Path, int], object]] = {
    "figure": lambda to, side: Figure(filepath=str(to / "x.png")).save(drawing(side)),
    "folder": lambda to, side: FolderDataset(filepath=str(to / "x")).save(fill(side)),
    "picture": lambda to, side: PngImage(filepath=str(to / "x.png")).save(noise(side)),
    "report": lambda to, side: JsonReport(filepath=str(to / "x.json")).save({"text": words(side)}),
    "table": lambda to, side: ParquetTable(filepath=str(to / "x.parquet")).save(
        pd.DataFrame({"x": noise(side).numpy().reshape(-1)})
    ),
    "text": lambda to, side: TextFile(filepath=str(to / "x.txt")).save(words(side)),
    "video": lambda to, side: save_video(to / "x.mp4", views(8 * (side // 8)), fps=8),
    "condition": lambda to, side: ConditionStore(to, "e")._save("x", Condition({"tokens": noise(side)})),
    "weights": lambda to, side: save_folder(to, {"side": side}, {"x": noise(side)}),
    "clip": lambda to, side: write_clip(to, Clip("x", noise(side).repeat(2, 1, 1, 1))),
    "tensors": lambda to, side: save_tensors(to / "x.safetensors", {"x": noise(side)}),
    "adapter": lambda to, side: save_lora(adapted(side), to),
    "checkpoint": lambda to, side: save_checkpoint(to / "loop.pt", {"x": noise(side)}),
}
SMALL, LARGE = 16, 600


def content(folder: Path) -> dict[str, bytes]:
    """All files, and those whose names say that they are unfinished."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def attempt(how: str, write: Callable[[], object]) -> str:
    """What a process ends with that writes: the name of a signal, of an error with its sentence, or nothing."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        if how != "full":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
            # Python ignores this signal; as the system has it, it kills.
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if how == "killed" else signal.SIG_IGN)
        said = ""
        try:
            write()
        except BaseException as error:
            cause = error.__cause__ if isinstance(error, DatasetError) else error
            said = f"{type(cause).__name__}: {cause}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as heard:
        said = heard.read()
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said


def main() -> None:
    """Every way once."""
    root, how = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    if how == "full":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(root)], check=True)
    for name, write in WAYS.items():
        (root / name).mkdir(parents=True)
        write(root / name, SMALL)
    for name, write in WAYS.items():
        folder = root / name
        before = content(folder)
        ended = attempt(how, lambda write=write, folder=folder: write(folder, LARGE))
        after = content(folder)
        unfinished = sorted(after.keys() - before.keys())
        remove_leftovers(folder)
        row = {
            "way": name,
            "ended": ended,
            "stands": all(after.get(file) == data for file, data in before.items()),
            "unfinished": unfinished,
            "cleaned": content(folder) == before,
        }
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
