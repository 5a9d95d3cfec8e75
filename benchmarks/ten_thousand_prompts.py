"""Many prompts through ``generate`` by workers, stopped twice and taken up: nothing is done twice, memory stays flat.

The networks are the tiny ones of the test suite (random weights of the published classes), so that what is measured is all that
is not a network: embeddings, latents, assets, state, record. Without pages, which hold a program of 1.4 MB each.

The first run is stopped (SIGKILL) when half of the latents are sampled, the second when two thirds of the scenes are there.
Measured: seconds of all three runs (and CPU seconds of their processes, which say more where others work on the machine), disk
of assets and state, resident memory of the driver (at the end of the last run over that when a tenth of its scenes were there),
latents and scenes that were written twice. Bars, for 10,000 prompts on two cores: 20 minutes, 2 GB, a tenth more memory, 0 files.
Exit status 1 where one is missed.

    python benchmarks/ten_thousand_prompts.py [--prompts 10000] [--kind ray] [--workers 2] [--out result.json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]

import tiny_chain  # noqa: E402
from tiny_networks import WORDS  # noqa: E402

GENERATED, STATE = Path("data/07_model_output/generated"), Path("data/06_models/checkpoints")
LOOK_SECONDS = 0.2
BARS = {"minutes": 20.0, "gigabytes": 2.0, "memory": 1.1, "twice": 0}


@dataclass
class Run:
    """A run of the pipeline, from its start to its end or to where it was stopped.

    Attributes:
        seconds: Of the whole process, start included.
        cpu_seconds: Of all its processes, Ray's included.
        latents: Sampled and not yet decoded at its end.
        scenes: Finished at its end.
        memory: Resident MiB of the driver over the scenes that were there.
    """

    seconds: float
    cpu_seconds: float
    latents: int
    scenes: int
    memory: list[tuple[int, float]]

    @property
    def growth(self) -> float:
        """Memory at the end over that after a tenth of its scenes."""
        first, last = self.memory[0][0], self.memory[-1][0]
        early = [mib for scenes, mib in self.memory if scenes <= first + max(1, (last - first) // 10)]
        return self.memory[-1][1] / max(early) if early else 1.0


def prompts(count: int, seed: int = 1) -> list[str]:
    """So many different ones, of words that the tiny tokenizers know."""
    dice, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        found[" ".join(dice.choices(WORDS, k=6))] = None
    return list(found)


def prepare(root: Path, count: int, kind: str, workers: int) -> list[str]:
    """A project after distillation, and the list of prompts; the arguments of a run."""
    tiny_chain.create(root, ["wan"], [tiny_chain.RECONSTRUCTIONS["anysplat"]])
    values = tiny_chain.chosen(root, "wan", "anysplat")
    for stage in ("extract", "score", "distill"):
        tiny_chain.run(root, stage, values)
    (root / "prompts.txt").write_text("\n".join(prompts(count)) + "\n")
    values["generate"] |= {
        "prompts_file": "prompts.txt",
        "viewer": False,
        "max_gaussians": 100,
        "voxel_size": 1.0,
        "steps": 1,
        "aligned": False,
    }
    values["workers"] = {"kind": kind, "count": workers}
    (root / "run.yml").write_text(yaml.safe_dump({"run": {"params": values}}))
    (root / "pyproject.toml").write_bytes((REPOSITORY / "pyproject.toml").read_bytes())
    (root / "src").mkdir()
    return ["-m", "vist3a_app", "--pipelines=generate", "--env=smoke", f"--config={root / 'run.yml'}"]


def latents(root: Path) -> dict[str, int]:
    """When the latents that are kept were written, by their names."""
    return {name: when for folder in (root / STATE).glob("generate-*/latents") for name, when in written(folder, "")}


def scenes(root: Path) -> dict[str, int]:
    """When the scenes that are there were written, by their names."""
    return dict(written(root / GENERATED, "prompt.json"))


def written(folder: Path, file: str) -> Iterator[tuple[str, int]]:
    """Whole entries of a folder with the time of them, or of a file in them."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it is just being replaced
                    if not entry.name.startswith("."):
                        yield entry.name, (Path(entry.path) / file).stat().st_mtime_ns


def count_of(folders: Iterable[Path]) -> int:
    """Whole entries of some folders."""
    return sum(not path.name.startswith(".") for folder in folders if folder.is_dir() for path in folder.iterdir())


def run(root: Path, arguments: list[str], stop: Callable[[int, int], bool]) -> Run:
    """The pipeline in a process of its own, killed when ``stop`` says so of latents and scenes."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "VIST3A_TRACKING": "on", "PYTHONPATH": str(REPOSITORY / "src"),
    }  # fmt: skip
    begun, memory, stopped = time.monotonic(), [], False
    cpu: dict[int, float] = {}
    with (root / "driver.log").open("ab") as log:
        driver = psutil.Popen(
            [sys.executable, *arguments], cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    while not stopped and driver.poll() is None:
        there = count_of([root / GENERATED])
        with suppress(psutil.NoSuchProcess):
            memory.append((there, driver.memory_info().rss / 2**20))
            for process in (driver, *driver.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    cpu[process.pid] = sum(process.cpu_times()[:2])
        if stop(count_of((root / STATE).glob("generate-*/latents")), there):
            stopped, alive = True, driver.children(recursive=True)
            driver.kill()
            psutil.wait_procs(alive, timeout=60)
        time.sleep(LOOK_SECONDS)
    if driver.wait() != 0 and not stopped:
        raise SystemExit(f"the run ended with {driver.returncode}:\n{(root / 'driver.log').read_text()[-3000:]}")
    # What it needs for its work: from when the first scene of this run is there.
    began = memory[0][0]
    needed = [row for row in memory if row[0] > began] or memory
    return Run(time.monotonic() - begun, sum(cpu.values()), len(latents(root)), len(scenes(root)), needed)


def disk(folder: Path) -> int:
    """Bytes that the files and folders below take on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def measure(root: Path, count: int, kind: str, workers: int) -> dict[str, Any]:
    """Three runs, two of them stopped."""
    arguments = prepare(root, count, kind, workers)
    runs, twice, peak = [], 0, 0
    stops: tuple[Callable[[int, int], bool], ...] = (
        lambda latents, scenes: latents >= count / 2,
        lambda latents, scenes: scenes >= count * 2 / 3,
        lambda latents, scenes: False,
    )
    for stop in stops:
        before = latents(root) | scenes(root)
        runs.append(run(root, arguments, stop))
        after = latents(root) | scenes(root)
        twice += sum(after.get(name, when) != when for name, when in before.items())
        peak = max(peak, disk(root / GENERATED) + disk(root / STATE))
        print(f"{runs[-1].scenes} of {count} scenes after {runs[-1].seconds:.0f} s", flush=True)
    report = json.loads((root / "data/08_reporting/generated.json").read_text())
    found = {
        "minutes": sum(one.seconds for one in runs) / 60,
        "gigabytes": peak / 1e9,
        "memory": runs[-1].growth,
        "twice": twice,
    }
    return {
        "prompts": count,
        "workers": {"kind": kind, "count": workers},
        "in the report": len(report["scenes"]),
        "quarantined": len(report.get("quarantined", {})),
        "CPU seconds of a prompt": sum(one.cpu_seconds for one in runs) / count,
        "driver MiB": max(mib for one in runs for _, mib in one.memory),
        "figures": found,
        "runs": [{**asdict(one), "memory": one.memory[:: max(1, len(one.memory) // 20)]} for one in runs],
    }


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=10000)
    parser.add_argument("--kind", choices=["here", "processes", "ray"], default="ray")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="for the project; else a temporary one that is removed")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    out = None if chosen.out is None else chosen.out.absolute()
    with tempfile.TemporaryDirectory(prefix="many-prompts-", dir=chosen.folder) as folder:
        os.chdir(folder)  # paths of the catalog start there
        result = measure(Path(folder), chosen.prompts, chosen.kind, chosen.workers)
        os.chdir(REPOSITORY)
    figures = result["figures"]
    missed = [name for name, bar in BARS.items() if figures[name] > bar]
    if result["in the report"] != chosen.prompts:
        missed.append("in the report")
    result["missed"] = missed
    print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=1))
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
