"""Facts about a run that explain its numbers later: code version, machine, versions of the main packages, command."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

logger = logging.getLogger(__name__)

PACKAGES = ("vist3a", "torch", "diffusers", "transformers", "gsplat", "numpy", "kedro", "dvc")
DVC_VARIABLES = {"dvc.stage": "DVC_STAGE", "dvc.exp": "DVC_EXP_NAME", "dvc.root": "DVC_ROOT"}


def code_facts(root: Path) -> dict[str, str]:
    """Commit of the repository around ``root`` and whether files differ from it; empty outside a repository.

    A repository that git does not read (a checkout that another user owns, as in a container) is a warning.
    """
    commit, reason = _git(root, "rev-parse", "--verify", "HEAD")
    if commit is None:
        if any((folder / ".git").exists() for folder in (root, *root.parents)):
            logger.warning("the commit of this code is not recorded: %s", reason)
        return {}
    changed, _ = _git(root, "status", "--porcelain", "--untracked-files=no")
    branch, _ = _git(root, "rev-parse", "--abbrev-ref", "HEAD")
    return {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": branch or "",
        "git.dirty": "unknown" if changed is None else str(bool(changed)).lower(),
    }


def machine_facts() -> dict[str, str]:
    """Processor, cores, memory, graphics card, and versions."""
    import torch

    facts = {
        "hardware.cpu": _cpu_model(),
        # Those that this process may use, which may be fewer than there are.
        "hardware.cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "hardware.memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "version.python": platform.python_version(),
    }
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        facts["hardware.gpu"] = ", ".join(card.name for card in cards)
        facts["hardware.gpu_memory_gib"] = ", ".join(f"{card.total_memory / 2**30:.1f}" for card in cards)
        facts["version.cuda"] = str(torch.version.cuda)
    else:
        facts["hardware.gpu"] = "none"
    for package in PACKAGES:
        try:
            facts[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def thread_count() -> str:
    """CPU threads that torch uses."""
    import torch

    return str(torch.get_num_threads())


def call_facts(run_params: Mapping[str, Any]) -> dict[str, str]:
    """How the run was called, by whom (DVC or a person) and its identifiers."""
    facts = {
        "kedro.run_id": str(run_params.get("run_id")),
        "kedro.env": str(run_params.get("env") or "local"),
        "kedro.pipelines": ", ".join(run_params.get("pipeline_names") or ["__default__"]),
        "kedro.command": _command(run_params),
        "started_by": "dvc" if os.environ.get("DVC_STAGE") else "kedro",
    }
    return facts | {tag: os.environ[name] for tag, name in DVC_VARIABLES.items() if os.environ.get(name)}


def _command(run_params: Mapping[str, Any]) -> str:
    program = Path(sys.argv[0]).name
    if program in {"kedro", "vist3a"}:
        return shlex.join([program, *sys.argv[1:]])
    if program == "__main__.py":
        return shlex.join(["python", "-m", "vist3a_app", *sys.argv[1:]])
    # Started from a notebook or a test: say it as the command that does the same.
    words = ["kedro", "run", *(f"--pipelines={name}" for name in run_params.get("pipeline_names") or [])]
    given = run_params.get("runtime_params") or {}
    if given:
        words.append("--params=" + ",".join(f"{key}={value}" for key, value in _dotted(given)))
    return shlex.join(words)


def _dotted(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", leaf) for inner, leaf in _dotted(value))
        else:
            yield key, value


def _git(root: Path, *arguments: str) -> tuple[str | None, str]:
    """What git answers, or None and, in one line, why not."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"git: {error}"
    if done.returncode == 0:
        return done.stdout.strip(), ""
    # What git advises stands in lines of its own, the command with a tab before it.
    words = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return None, " ".join(words) or f"git ended with {done.returncode}"


def _cpu_model() -> str:
    # On Linux platform.processor() often says nothing, or the architecture alone.
    description = Path("/proc/cpuinfo")
    if description.is_file():
        for line in description.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
