"""The functions under the studies' nodes run where there is no Kedro, MLflow, DVC or OmegaConf: on a borrowed GPU, say."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules.update(dict.fromkeys(("kedro", "mlflow", "omegaconf", "dvc")))  # as if they were not installed
from vist3a_lab.pipelines.{study} import nodes, page, params
print(*(name for name in dir(nodes) if name.startswith(("measure_", "report_"))))
"""


@pytest.mark.parametrize(
    ("study", "functions"),
    [
        ("claims", ["measure_claims", "report_claims"]),
        ("alignment_study", ["measure_variants", "report_variants"]),
        ("layer_study", ["report_study"]),
    ],
)
def test_studies_need_no_workflow_tools(study: str, functions: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{study}", study)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(functions) <= set(done.stdout.split())
