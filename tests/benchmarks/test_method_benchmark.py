"""The benchmark of the method runs whole, and its report has every figure that it compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.skipif(
    not (REPOSITORY / "data" / "06_models" / "embedded" / "generator").is_dir(),
    reason="the embedded networks are not here; `make setup` fetches them from the repository",
)
def test_everything_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "method.json"
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "method.py"), "--tiny", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["errors"].keys() == {"decode first", "stitched"}
    for by_share in found["errors"].values():
        assert by_share.keys() == {"0", "0.26"}
        for rows in by_share.values():
            assert all(len(rows[name]) == 2 for name in ("depth_absrel", "rotation_deg", "nvs_psnr"))
    # Noise costs decoding first: the levels are really applied.
    clean, noisy = (found["errors"]["decode first"][share]["nvs_psnr"] for share in ("0", "0.26"))
    assert sum(noisy) < sum(clean)
    assert found["films"].keys() == {"true clips", "unaligned", "generative alone", "full", "full, motion held"}
    for name, rows in found["films"].items():
        assert {"rerender", "motion", "flicker"} <= rows.keys() and (name == "true clips") != ("right" in rows)
    assert found["search for noise 0"]["r2"].keys() == {"0", "0.26"}
    # One step of three variants: three different generators.
    assert len({tuple(found["films"][name]["rerender"]) for name in found["films"]}) == 5
