"""The parameter group ``networks``: what it may name, and that published weights are those of this run's ``weights.yml``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from reconstruction_cases import build
from safetensors.torch import save_file

from vist3a.models import networks
from vist3a.models.reconstruction import VGGT
from vist3a.models.weights import PublicWeights, parse, register
from vist3a.pipelines.networks import Networks

WAN = {"family": "wan", "source": "nowhere"}


def chosen(**reconstruction: Any) -> Networks:
    return Networks(device="cpu", generator=WAN, reconstruction={"family": "vggt"} | reconstruction)  # type: ignore[arg-type]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublicWeights]:
    """A small VGGT that is published as ``net``."""
    network = build("vggt").float()
    save_file(network.state_dict(), tmp_path / "file.safetensors")
    monkeypatch.setattr(networks, "published_configs", lambda: {"small": ("vggt", network.config)})
    entry = {"config": "small", "repo": "a/b", "file": "c", "licence": "MIT", "commercial": True}
    register(parse({"net": entry | {"path": str(tmp_path / "file.safetensors")}}))
    yield PublicWeights(**entry)  # type: ignore[arg-type]
    register({})


@pytest.mark.usefixtures("weights")
def test_a_name_or_a_file_with_its_config_is_loaded(tmp_path: Path) -> None:
    named = chosen(source="net").load_reconstruction()
    given = chosen(source=str(tmp_path / "file.safetensors"), config="small").load_reconstruction()
    for network in (named, given):
        assert isinstance(network, VGGT)
        assert torch.equal(
            network.state_dict()["aggregator.camera_token"], build("vggt").aggregator.camera_token.float()
        )


@pytest.mark.usefixtures("weights")
def test_an_unknown_source_lists_the_names() -> None:
    with pytest.raises(FileNotFoundError, match=r"source: nett is no folder .* entries: net$"):
        chosen(source="nett").load_reconstruction()


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="revision"):
        chosen(source="net", revision="main")
