"""A project of three nodes with our hooks, run in processes of its own: what the hooks do is seen from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

REPOSITORY = Path(__file__).resolve().parents[1]

FILES = {
    "pyproject.toml": """
        [tool.kedro]
        package_name = "tiny"
        project_name = "tiny"
        kedro_init_version = "1.7.0"
        source_dir = "src"
        """,
    "src/tiny/__init__.py": "",
    "src/tiny/settings.py": "from vist3a_app.settings import *\n",
    "src/tiny/pipeline_registry.py": '''
        """Three nodes: scores, a picture, and one that does what ``params:tiny`` says."""

        import time
        from pathlib import Path

        import numpy as np
        from kedro.pipeline import Node, Pipeline
        from pydantic import BaseModel, ConfigDict

        from vist3a.metrics.by_kind import figures_by_kind
        from vist3a.weights.public import use_licence
        from vist3a.runtime.picture_log import picture_log
        from vist3a.runtime.step_log import step_log
        from vist3a.runtime.workers.settings import WorkerSettings
        from vist3a.runtime.workers.working import working


        class Inner(BaseModel):
            model_config = ConfigDict(frozen=True, extra="forbid")
            rate: float
            taps: tuple[int, ...]


        class Tiny(BaseModel):
            model_config = ConfigDict(frozen=True, extra="forbid")
            act: str
            text: str
            inner: Inner


        def score(params: Tiny) -> dict:
            use_licence("net", "CC-BY-NC-4.0", commercial=False)
            fits = {"encoder.0": 0.25, "encoder.1": 0.75, "aggregator.0": 0.5}
            points = {k: {"index": i, "r2_heldout": v, "mse_heldout": 1 - v} for i, (k, v) in enumerate(fits.items())}
            return {"points": points, "chosen": "encoder.1", "reason": "highest held-out R2", "samples": 12}


        def draw(params: Tiny) -> dict:
            log = step_log("align")
            for step in range(1, 6):
                log(step, {"reward": step / 10, "loss": 1.0})
            load = lambda: lambda item, done: done(1)
            for work in ("draw", "draw again"):
                with working(work, load, [1, 2, 3], WorkerSettings(), total=3) as outcomes:
                    list(outcomes)
            picture_log("align/preview")(3, np.zeros((4, 6, 3), np.uint8))
            kinds = figures_by_kind(
                [["shape: cone"], ["shape: cube"]], {"accuracy/decoded": [1, 1]}, {"accuracy/decoded": [0, 1]}
            )
            return {"reward": {"first": 0.1, "last": 0.5}, "note": "text", "kinds": kinds}


        def act(params: Tiny, report: dict) -> dict:
            if params.act == "fail":
                raise ValueError("the clip has no frames")
            if params.act == "wait":
                Path("waiting").touch()
                for _ in range(600):
                    time.sleep(0.1)
            return {"done": 1}


        def register_pipelines() -> dict[str, Pipeline]:
            base = Pipeline([Node(score, "params:tiny", "score_report", name="score_points")])
            rest = Pipeline(
                [
                    Node(draw, "params:tiny", "align_report", name="draw_views"),
                    Node(act, ["params:tiny", "align_report"], "page", name="act"),
                ]
            )
            return {"score": base, "rest": rest, "stitch": base + rest, "__default__": base + rest}
        ''',
    "conf/base/catalog/tiny.yml": """
        score_report:
          type: vist3a_app.datasets.json_report.JsonReport
          filepath: reports/score.json
          metadata: {tracking: metrics}
        align_report:
          type: vist3a_app.datasets.json_report.JsonReport
          filepath: reports/align.json
          metadata: {tracking: metrics}
        page:
          type: vist3a_app.datasets.json_report.JsonReport
          filepath: reports/page.json
          metadata: {tracking: artifact}
        """,
    "conf/base/parameters/tiny.yml": """
        tiny:
          act: nothing
          text: ""
          inner: {rate: 0.5, taps: [1, 2]}
        """,
    "conf/base/tracking.yml": """
        tracking:
          uri: sqlite:///mlflow.db
          experiment: tiny
        """,
    "conf/base/globals.yml": "seed: 7\n",
    "conf/local/.gitkeep": "",
    ".telemetry": "consent: false\n",
    # Several runs in one process: the start of the process is most of the time.
    "drive.py": '''
        """``drive.py key=value ...``: one run per argument list, divided by ``--``; prints what each ended with.

        ``runner=NAME`` chooses who runs the nodes.
        """

        import sys
        from pathlib import Path

        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
        from kedro.utils import load_obj

        root = Path(__file__).parent
        bootstrap_project(root)
        for words in " ".join(sys.argv[1:]).split("--"):
            parameters = {}
            for word in words.split():
                name, _, value = word.partition("=")
                group, _, key = name.partition(".")
                parameters.setdefault(group, {})[key] = value
            runner = load_obj(parameters.pop("runner", {"": "SequentialRunner"})[""], "kedro.runner")
            try:
                with KedroSession.create(root, runtime_params=parameters) as session:
                    session.run(pipeline_names=["stitch"], runner=runner())
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
            else:
                print("finished")
        print("mlflow imported:", "mlflow" in sys.modules)
        ''',
}


def create(root: Path) -> None:
    """Write the project, and commit it to a repository of its own."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"))
    shutil.copy(REPOSITORY / "conf" / "logging.yml", root / "conf" / "logging.yml")
    identity = ["-c", "user.name=tiny", "-c", "user.email=tiny@example.invalid"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "tiny"]):
        subprocess.run(["git", *command], cwd=root, check=True)


def command(*arguments: str) -> list[str]:
    """A command line that runs the project's driver."""
    return [sys.executable, "drive.py", *arguments]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would switch tracking or mark a DVC stage."""
    dropped = {"VIST3A_TRACKING", "MLFLOW_TRACKING_URI", "DVC_STAGE", "DVC_EXP_NAME", "DVC_ROOT"}
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"src{os.pathsep}{REPOSITORY / 'src'}"} | variables


def drive(root: Path, *arguments: str, **variables: str) -> list[str]:
    """Lines that the driver prints."""
    done = subprocess.run(
        command(*arguments),
        cwd=root,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.splitlines()
