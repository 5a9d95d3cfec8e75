"""Base of all typed parameters."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

UNSTATED = "unstated"
"""What a preset says where its source says nothing, and nothing of ours can stand for it."""


class Strict(BaseModel):
    """Frozen; unknown keys are refused, and so are values that a preset leaves open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _are_known(cls, values: Any) -> Any:
        """Before pydantic's own refusal, which does not say what is allowed."""
        if not isinstance(values, Mapping) or cls.model_config.get("extra") != "forbid":
            return values
        if unknown := [str(key) for key in values if key not in cls.model_fields]:
            near = get_close_matches(unknown[0], cls.model_fields, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown key {', '.join(unknown)}{hint}; allowed: {', '.join(cls.model_fields)}")
        return values

    @model_validator(mode="before")
    @classmethod
    def _are_stated(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and (left := [key for key, value in values.items() if value == UNSTATED]):
            raise ValueError(
                f"{', '.join(left)}: the source of the preset does not state it; allowed: a value of your own (--params)"
            )
        return values


def _from_home(place: str) -> str:
    try:
        return str(Path(place).expanduser()) if place.startswith("~") else place
    except RuntimeError as error:
        raise ValueError(f"{place}: there is no such home folder") from error


Place = Annotated[str, AfterValidator(_from_home)]
"""A file or folder; ``~`` is the home folder, as in a shell."""
