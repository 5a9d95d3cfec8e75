"""README is short, plain and true: its length, its English, its tables, and what it says of results."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / "docs" / "site"))
import readability  # noqa: E402  isort: skip
import readme  # noqa: E402  isort: skip

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
REPORTS = REPOSITORY / "reports"


def report(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((REPORTS / f"{name}.json").read_text())
    return found


def test_it_is_short_and_plain() -> None:
    assert len(README.splitlines()) <= 120
    assert readability.words(README) <= 900
    assert readability.grade(README) <= 9


def test_its_tables_are_those_of_the_reports() -> None:
    assert readme.with_tables(README, REPORTS) == README, "run `make readme`"


def test_a_changed_report_changes_the_table(tmp_path: Path) -> None:
    for name in ("evaluate", "claims", "score"):
        (tmp_path / f"{name}.json").write_text(json.dumps(report(name)))
    (tmp_path / "gpu").symlink_to(REPORTS / "gpu")
    assert readme.with_tables(README, tmp_path) == README
    changed = report("evaluate")
    changed["film"]["rerender"]["before"] = 12.34
    (tmp_path / "evaluate.json").write_text(json.dumps(changed))
    assert "| 12.3 dB |" in readme.with_tables(README, tmp_path)
    del changed["film"]["rerender"]
    (tmp_path / "evaluate.json").write_text(json.dumps(changed))
    with pytest.raises(KeyError, match="rerender"):
        readme.with_tables(README, tmp_path)


def test_a_table_without_its_mark_is_refused() -> None:
    with pytest.raises(ValueError, match=r"README\.md has 0 places marked `<!-- memory -->`"):
        readme.with_tables(README.replace("<!-- memory -->", ""), REPORTS)


def test_what_is_said_of_the_rewards_is_measured() -> None:
    """Each sentence, and the whole interval that it stands on."""
    said = " ".join(README.split())
    assert "The rewards blur a little. Without `diversity`, scenes of one prompt look more alike." in said
    assert "The light still flickers more than in curated clips." in said
    assert report("evaluate")["film"]["share_of_clips"]["flicker"]["after"]["ratio_low"] > 1
    study = report("alignment_study")
    assert study["diversity_ratio"]["full"]["high"] < 1
    assert study["differences"]["full_motion - no_finetuning"]["sharpness/decoded"]["high"] < 0


def test_no_number_stands_in_its_prose_but_those_of_settings() -> None:
    """Results are in the tables, which are made."""
    plain = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", "", README, flags=re.DOTALL)
    numbers = set(re.findall(r"\d+(?:\.\d+)?", readability.prose(plain)))
    assert numbers <= {"2", "2.0", "3", "3.11", "79", "64", "200", "2026"}, numbers
