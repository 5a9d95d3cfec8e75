"""Experiments that DVC runs in copies of the project, which it deletes: their record stays with the project."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import tiny_project
import yaml

from vist3a_app.hooks.tracking_settings import TrackingSettings

STAGE = {
    "cmd": " ".join(tiny_project.command()),
    "params": [{"conf/base/parameters/tiny.yml": ["tiny"]}],
    "outs": [{"reports/page.json": {"cache": False}}],
}


def test_a_copy_of_dvc_is_recorded_where_it_came_from(tmp_path: Path) -> None:
    tiny_project.create(tmp_path)
    # The copy is made of what is committed.
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"rest": STAGE}}))
    (tmp_path / ".gitignore").write_text("mlflow.db\nmlruns\n")
    environment = tiny_project.environment(VIST3A_TRACKING="on", DVC_NO_ANALYTICS="1")
    identity = ["git", "-c", "user.name=tiny", "-c", "user.email=tiny@example.invalid"]
    changed = ["--temp", "--set-param", "conf/base/parameters/tiny.yml:tiny.text=changed"]
    for command in (["dvc", "init", "-q"], ["git", "add", "."], [*identity, "commit", "-qm", "dvc"]):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    for key, value in {"name": "tiny", "email": "tiny@example.invalid"}.items():
        subprocess.run(["git", "config", f"user.{key}", value], cwd=tmp_path, check=True)
    done = subprocess.run(
        ["dvc", "exp", "run", *changed], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        ((run, uri),) = database.execute("select run_uuid, artifact_uri from runs where status = 'FINISHED'").fetchall()
        parameters = dict(database.execute("select key, value from params where run_uuid = ?", [run]))
    assert parameters["tiny.text"] == "changed"
    recorded = Path(unquote(urlparse(uri).path))
    assert recorded.is_relative_to(tmp_path / "mlruns")
    assert json.loads((recorded / "reports" / "page.json").read_text()) == {"done": 1}


def test_only_copies_of_dvc_are_recorded_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, copy = TrackingSettings(), tmp_path / ".dvc" / "tmp" / "exps" / "x"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert settings.absolute_uri(copy) == f"sqlite:///{tmp_path}/mlflow.db"
    assert settings.artifact_location(copy) == (tmp_path / "mlruns").as_uri()
    assert settings.absolute_uri(tmp_path / "other") == f"sqlite:///{tmp_path}/other/mlflow.db"
    monkeypatch.delenv("DVC_ROOT")
    assert settings.absolute_uri(copy) == f"sqlite:///{copy}/mlflow.db"
