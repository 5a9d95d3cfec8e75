"""Base of all typed parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _from_home(place: str) -> str:
    try:
        return str(Path(place).expanduser()) if place.startswith("~") else place
    except RuntimeError as error:
        raise ValueError(f"{place}: there is no such home folder") from error


Place = Annotated[str, AfterValidator(_from_home)]
"""A file or folder; ``~`` is the home folder, as in a shell."""
