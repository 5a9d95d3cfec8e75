"""The files of ``deploy``: they parse by the rules of who reads them, agree with the lock, and the job of Slurm runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
DEPLOY = REPOSITORY / "deploy"
LOCK = dict(
    line.split("==") for line in (REPOSITORY / "requirements.lock").read_text().splitlines() if not line.startswith("#")
)
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'vist3a[ray]'")


@needs_ray
def test_the_cluster_is_one_that_ray_accepts() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = prepare_config(yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text()))
    validate_config(cluster)
    assert cluster["available_node_types"]["local.cluster.node"]["max_workers"] == 2
    for command in [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]:
        subprocess.run(["bash", "-n", "-c", command], check=True)
    # Both sides are told to ask for the token that the file mounts bring.
    started = [c for c in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"] if "ray start" in c]
    assert len(started) == 2 and all("RAY_AUTH_MODE=token" in command for command in started)


def test_the_server_of_records_hangs_together() -> None:
    text = (DEPLOY / "mlflow.yaml").read_text()
    compose: dict[str, Any] = yaml.safe_load(text)
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", [])) <= services.keys()
        named = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert set(named) <= compose["volumes"].keys()
        assert {config["source"] for config in service.get("configs", [])} <= compose["configs"].keys()
    # What the file asks the environment for is what its first lines put there.
    assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"([A-Z][A-Z0-9_]*)=%s", text))
    database, mlflow = services["database"]["environment"], services["mlflow"]
    address = f"postgresql://{database['POSTGRES_USER']}:${{POSTGRES_PASSWORD}}@database/{database['POSTGRES_DB']}"
    assert f"--backend-store-uri={address}" in mlflow["command"]
    assert f"mlflow=={LOCK['mlflow']} " in mlflow["build"]["dockerfile_inline"]
    keys = json.loads(compose["configs"]["keys"]["content"])["identities"][0]["credentials"][0]
    s3 = mlflow["environment"]
    assert keys["accessKey"] == s3["AWS_ACCESS_KEY_ID"]
    assert keys["secretKey"].partition("}")[0] == s3["AWS_SECRET_ACCESS_KEY"].partition(":")[0]
    compile(services["bucket"]["command"][2], "bucket", "exec")


def test_the_image_has_what_it_copies() -> None:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    lines = [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0][0] == "FROM"
    copied = [name for line in lines if line[0] == "COPY" for name in line[1:-1]]
    assert {"requirements.lock", "pyproject.toml", "src"} <= set(copied)
    assert [name for name in copied if not (REPOSITORY / name).exists()] == []
    metadata = (REPOSITORY / "pyproject.toml").read_text()
    assert all(name in copied for name in re.findall(r'"(README\.md|LICENSE|NOTICE\.md)"', metadata))


def test_the_job_is_a_script_with_options_of_sbatch() -> None:
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    options = re.findall(r"^#SBATCH --([a-z-]+)", script.read_text(), re.MULTILINE)
    assert {"nodes", "ntasks-per-node", "cpus-per-task", "time", "requeue"} <= set(options)
    assert os.access(script, os.X_OK)


@needs_ray
@pytest.mark.long
def test_the_job_runs_on_two_nodes(tmp_path: Path) -> None:
    """Both are this machine: ``srun`` and ``scontrol`` stand for Slurm's, all that they start is real."""
    root, programs = tmp_path / "project", tmp_path / "bin"
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    (root / "src").mkdir()
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "activate").write_text("")
    programs.mkdir()
    (programs / "srun").write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n')
    (programs / "scontrol").write_text("#!/bin/sh\necho 127.0.0.1\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1", "VIST3A_TRACKING": "on",
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "both", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip
    command = [str(DEPLOY / "slurm.sh"), "--pipelines=curate", "--env=smoke", "--params=curate.procedural.scenes=12"]
    job = subprocess.Popen(command, cwd=root, env=environment, start_new_session=True)
    try:
        assert job.wait(300) == 0
    finally:
        # As Slurm ends what a job leaves.
        os.killpg(job.pid, signal.SIGKILL)
    with sqlite3.connect(root / "mlflow.db") as database:
        ((uri,),) = database.execute("select artifact_uri from runs where status = 'FINISHED'").fetchall()
    found = json.loads(Path(uri.removeprefix("file://"), "workers.json").read_text())
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    assert len(rows) == 2 and len({row["process"] for row in rows}) == 2
    # Three batches of four scenes.
    assert sum(row["items"] for row in rows) == 3
