"""Base of all typed parameters.

A class of parameters is composed of the settings classes of the library, whose fields it inherits, and declares only what the
library does not know: names of files, prompts, what is loaded. ``part`` hands down the settings of one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

Settings = TypeVar("Settings")
UNSTATED = "unstated"
"""What a preset says where its source says nothing, and nothing of ours can stand for it."""


class Strict(BaseModel):
    """Frozen; unknown keys are refused, and so are values that a preset leaves open.

    Example:
        >>> class GenerateParams(Strict, SamplingConfig):
        ...     prompt: str
        >>> sampling = GenerateParams(**values).part(SamplingConfig)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def part(self, kind: type[Settings]) -> Settings:
        """The settings that are of a class which these parameters are composed of."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})  # type: ignore[arg-type]

    @model_validator(mode="before")
    @classmethod
    def _are_known_and_stated(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            # Pydantic would refuse an unknown key, too, but would not say which ones there are.
            if cls.model_config.get("extra") == "forbid":
                _refuse_unknown(cls, values)
            if left := list(_unstated(values)):
                raise ValueError(
                    f"{', '.join(left)}: the source of the preset does not state it; allowed: a value of your own (--params)"
                )
        return values

    @model_validator(mode="after")
    def _fit_together(self) -> Strict:
        """What the settings of the library ask of several values at once holds here, too."""
        # Pydantic makes the object itself and never calls the ``__post_init__`` of a dataclass among the bases.
        check = getattr(self, "__post_init__", None)
        if check is not None:
            check()
        return self


def _refuse_unknown(kind: type, values: Mapping[str, Any], place: str = "") -> None:
    """ValueError naming a key that a class of parameters or settings does not have, and those that it has.

    Nested parameters see to themselves; nested settings of the library are looked at here.
    """
    known = _fields(kind)
    for key, value in values.items():
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown key {place + str(key)!r}; {hint}allowed: {', '.join(known)}")
        # The type itself, or the members of a union, as of a class or None.
        nested = [one for one in (known[key], *get_args(known[key])) if isinstance(one, type) and is_dataclass(one)]
        # Of nested dataclasses, too, pydantic's own sentence would not name the keys that there are.
        if nested and isinstance(value, Mapping) and not issubclass(nested[0], Strict):
            _refuse_unknown(nested[0], value, f"{place}{key}.")


def _fields(kind: type) -> dict[str, Any]:
    """Types of the fields by name."""
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    types = get_type_hints(kind)
    return {field.name: types[field.name] for field in fields(kind)}  # type: ignore[arg-type]


def _unstated(values: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Places of values that a preset leaves open."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _unstated(value, f"{place}{key}.")
        elif value == UNSTATED:
            yield f"{place}{key}"


def _from_home(place: str) -> str:
    try:
        return str(Path(place).expanduser()) if place.startswith("~") else place
    except RuntimeError as error:
        raise ValueError(f"{place}: there is no such home folder") from error


Place = Annotated[str, AfterValidator(_from_home)]
"""A file or folder; ``~`` is the home folder, as in a shell."""
