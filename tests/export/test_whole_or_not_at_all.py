"""Files and checkpoints appear whole or not at all, whatever ends the writing, and a reader never meets half of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from vist3a.runtime.atomic import replacing
from vist3a.runtime.checkpoint import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


def test_a_file_keeps_its_old_content_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.json"
    with replacing(path) as partial:
        assert partial.parent.parent == path.parent and partial.suffix == ".json" and partial != path
        partial.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first" and [*path.parent.iterdir()] == [path]
    before = path.stat().st_ino
    with replacing(path) as partial:
        partial.write_text("second")
        written = partial.stat().st_ino
        assert path.read_text() == "first"
    # The very file that was written, under its name: copied, it could be met half way.
    assert path.read_text() == "second" and path.stat().st_ino == written != before
    with pytest.raises(RuntimeError, match="broken"), replacing(path) as partial:
        partial.write_text("thi")
        raise RuntimeError("broken")
    assert path.read_text() == "second" and [*path.parent.iterdir()] == [path]


def test_an_open_reader_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old" * 1000)
    with path.open("rb") as reader:
        with replacing(path) as partial:
            partial.write_bytes(b"new")
        assert reader.read() == b"old" * 1000
    assert path.read_bytes() == b"new"


def test_a_checkpoint_is_the_old_one_or_the_new_one_at_any_time(tmp_path: Path) -> None:
    """Read again and again while it is written again and again."""
    path = tmp_path / "deep" / "state.pt"
    save_checkpoint(path, {"step": 0, "weight": torch.zeros(200_000)})
    opened = path.open("rb")
    stop = threading.Event()

    def write() -> None:
        step = 1
        while not stop.is_set():
            save_checkpoint(path, {"step": step, "weight": torch.full((200_000,), float(step))})
            step += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(15):
            state = load_checkpoint(path, CPU)
            assert bool((state["weight"] == float(state["step"])).all())
    finally:
        stop.set()
        writer.join()
    assert [*path.parent.iterdir()] == [path]
    # Whoever had opened the first one still has it.
    with opened:
        assert torch.load(opened, weights_only=True)["step"] == 0


WRITER = """
import sys, torch
from pathlib import Path
from vist3a.runtime.checkpoint import save_checkpoint
path = Path(sys.argv[1])
weight = torch.ones(1_000_000)
print("ready", flush=True)
step = 1
while True:
    save_checkpoint(path, {"step": step, "weight": weight * step})
    step += 1
"""


def test_a_killed_writer_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_checkpoint(path, {"step": 0, "weight": torch.zeros(1_000_000)})
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=dict(os.environ))
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        while load_checkpoint(path, CPU)["step"] < 3:
            threading.Event().wait(0.02)
        process.send_signal(signal.SIGKILL)
    state = load_checkpoint(path, CPU)
    assert state["step"] >= 3 and bool((state["weight"] == float(state["step"])).all())


def test_what_is_read_is_not_executed(tmp_path: Path) -> None:
    torch.save({"step": Path("x")}, tmp_path / "a.pt")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        load_checkpoint(tmp_path / "a.pt", CPU)
