"""Files and folders that the parameters of generation name: from the home folder too, and known to be there before any work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import project_config
import pytest
from pydantic import ValidationError

from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.generate.requests import requests
from vist3a_app.pipelines.networks import Networks

NAMES = ("prompts_file", "image", "adapter", "released_decoder", "scorer")


def params(**changes: Any) -> GenerateParams:
    values = dict(project_config.loader("base")["parameters"]["generate"])
    return GenerateParams(**{**values, "scorer": None, **changes})


@pytest.mark.parametrize("name", NAMES)
def test_a_tilde_is_the_home_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert getattr(params(**{name: "~/my file é.txt"}), name) == f"{tmp_path}/my file é.txt"
    assert getattr(params(**{name: "data/~/x"}), name) == "data/~/x"
    with pytest.raises(ValidationError, match="~nobody-of-this-name/x: there is no such home folder"):
        params(**{name: "~nobody-of-this-name/x"})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_said_before_a_network_is_looked_for(name: str, tmp_path: Path) -> None:
    networks = Networks(
        device="cpu",
        generator={"family": "wan", "source": "nowhere"},  # type: ignore[arg-type]
        reconstruction={"family": "vggt", "source": "nowhere"},  # type: ignore[arg-type]
    )
    place = tmp_path / "none"
    with pytest.raises(FileNotFoundError, match=re.escape(f"generate.{name}: {place} does not exist; allowed: ")):
        requests(params(**{name: str(place)}), networks, tmp_path)
    place.touch()
    params(**{name: str(place)}).check_places()


def test_prompts_of_alignment_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    values = dict(project_config.loader("base")["parameters"]["align"])
    assert AlignParams(**{**values, "prompts_file": "~/prompts.txt"}).prompts_file == f"{tmp_path}/prompts.txt"
