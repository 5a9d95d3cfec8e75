"""Runs in several processes: what may be run, who keeps results, which hooks there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from vist3a_app.datasets.json_report import JsonReport
from vist3a_app.hooks.several_processes import SeveralProcesses
from vist3a_app.pipelines.align.pipeline import create_pipeline

HOOK = SeveralProcesses()
OUTPUTS = ("aligned_generator", "align_report", "align_history")
ALIGN: dict[str, Any] = {"pipeline_names": ["align"]}


def catalog(folder: Path) -> DataCatalog:
    return DataCatalog({name: JsonReport(filepath=str(folder / f"{name}.json")) for name in OUTPUTS})


def start(monkeypatch: pytest.MonkeyPatch, rank: int, count: int) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(count))


@pytest.mark.parametrize(("rank", "count", "kept"), [(0, 1, True), (0, 2, True), (1, 2, False)])
def test_only_the_first_process_keeps_results(
    rank: int, count: int, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(monkeypatch, rank, count)
    found = catalog(tmp_path)
    HOOK.before_pipeline_run(create_pipeline(), found, ALIGN)
    for name in OUTPUTS:
        assert isinstance(found.get(name), JsonReport if kept else MemoryDataset)


def test_other_pipelines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Pipeline([Node(len, "text", "length", name="count")])
    run = {"pipeline_names": ["score"]}
    start(monkeypatch, 0, 1)
    HOOK.before_pipeline_run(other, catalog(tmp_path), run)
    for rank in range(2):
        start(monkeypatch, rank, 2)
        with pytest.raises(ValueError, match="pipeline score in 2 processes; allowed for torchrun: --pipelines=align"):
            HOOK.before_pipeline_run(other + create_pipeline(), catalog(tmp_path), run)


@pytest.mark.parametrize(("rank", "expected"), [("0", "True True"), ("1", "False False")])
def test_one_process_records_and_locks(rank: str, expected: str) -> None:
    program = (
        "import sys; from vist3a_app.settings import HOOKS; names = [type(h).__name__ for h in HOOKS]; "
        "print('RunRecord' in names, 'WorkspaceLock' in names, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"RANK": rank, "WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    # The settings are read by every Kedro command, which must not wait for torch.
    assert done.stdout.split() == [*expected.split(), "False"]
