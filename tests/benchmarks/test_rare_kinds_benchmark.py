"""The benchmark of rare kinds runs whole; one kind is really rare."""

from __future__ import annotations

import json
import os
import re
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
def test_verdicts_of_both_alignments_are_pooled(tmp_path: Path) -> None:
    out = tmp_path / "rare.json"
    script, options = REPOSITORY / "benchmarks" / "rare_kinds.py", ["--share", "0.2", "--seeds", "0", "1"]
    command = [sys.executable, str(script), "--tiny", *options, "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    # As they come, then made rare: a fifth of five.
    seen = re.findall(r"seed (\d): (\d) of 4 prompts, (\d) of 5 clips are of the kind", done.stdout)
    assert [row[0] for row in seen] == ["0", "0", "1", "1"]
    assert all(int(row[1]) == 1 and int(row[2]) == 1 for row in seen[1::2]) and int(seen[0][2]) > 1
    found = json.loads(out.read_text())
    variants = ("before", "as they come", "made rare")
    assert [tuple(one) for one in found["verdicts"].values()] == [variants] * 2
    for name in ("of the kind", "others", "of the kind less others"):
        for variant in variants:
            values = [value for one in found["verdicts"].values() for value in one[variant][name]]
            assert found["shares"][f"{name}, {variant}"]["value"] == pytest.approx(sum(values) / 4)
        gap = found["differences"][f"{name}, made rare - as they come"]["value"]
        shares = [found["shares"][f"{name}, {variant}"]["value"] for variant in variants]
        assert gap == pytest.approx(shares[2] - shares[1])


def test_a_kind_is_made_rare_and_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    from rare_kinds import picked

    numbers = list(range(100))
    assert picked(numbers, lambda n: n % 2 == 0, 10, None) == numbers[:10]
    found = picked(numbers, lambda n: n % 2 == 0, 50, 0.04)
    assert [place for place, n in enumerate(found) if n % 2 == 0] == [12, 37] and found[12] == 0 and found[37] == 2
    assert [n for n in found if n % 2] == numbers[1::2][:48]
    assert picked(numbers, lambda n: n % 2 == 0, 50, 0.0) == numbers[1::2]
    with pytest.raises(ValueError, match="share 0 of 51: there are 50 of the kind and 50 others"):
        picked(numbers, lambda n: n % 2 == 0, 51, 0.0)
