"""A checkout as people have it: an archive without git, a folder with a space in its name, a git that alters text."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TEXTS = (".gitattributes", "Makefile", ".ci/run", "dvc.lock", "reports/curate.json")


def copy(names: tuple[str, ...], to: Path) -> None:
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, to / name)
        else:
            shutil.copy(REPOSITORY / name, to / name)


def files(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".git/")}


def test_a_clone_with_other_line_ends_has_the_same_bytes(tmp_path: Path) -> None:
    """Windows' git is set to `core.autocrlf=true`."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    copy((*TEXTS, "dvc_remote"), origin)
    identity = ["-c", "user.name=me", "-c", "user.email=me@example.invalid", "-c", "core.autocrlf=false"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=origin, check=True)
    subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "-q", str(origin), str(clone)], check=True)
    there, here = files(clone), files(origin)
    assert there.keys() == here.keys() and len(there) > 20
    assert [name for name, content in here.items() if there[name] != content] == []
    assert not any(b"\r\n" in here[name] for name in TEXTS)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """No git, a name of several words, and this environment."""
    root = tmp_path / "my project é"
    copy(
        (*TEXTS, ".dvc/config", ".dvcignore", "dvc.yaml", "dvc_remote", "conf", "pyproject.toml", "requirements.lock"),
        root,
    )
    (root / ".venv").mkdir()
    (root / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (root / ".venv" / ".installed").touch()
    return root


def make(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Git looks no further up than this; `make test` above must not speak through its children.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(root.parent)}
    for inherited in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(inherited, None)
    return subprocess.run(
        ["make", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def test_an_archive_without_git_has_its_networks(archive: Path) -> None:
    done = make(archive, "setup")
    assert done.returncode == 0, done.stderr
    found = archive / "data" / "06_models" / "embedded"
    assert {path.name for path in found.iterdir()} >= {"generator", "reconstruction", "reward_scorer", "judge"}


def test_superseded_objects_leave_the_remote(archive: Path) -> None:
    before = files(archive / "dvc_remote")
    superseded = archive / "dvc_remote" / "files" / "md5" / "00" / "11223344"
    superseded.parent.mkdir()
    superseded.write_bytes(b"old weights")
    assert make(archive, "setup").returncode == 0
    done = make(archive, "remote")
    assert done.returncode == 0, done.stderr
    assert files(archive / "dvc_remote") == before


def test_servers_are_started_from_a_folder_of_any_name(archive: Path) -> None:
    """Paths are relative, so that nothing can be cut at a space."""
    for target in ("ui", "serve", "view"):
        done = make(archive, "--dry-run", target)
        assert done.returncode == 0, done.stderr
        assert "sqlite:///mlflow.db" in done.stdout or target == "view"
        assert "é" not in done.stdout
