"""How the kits compare: one sentence says what was looked at, what was found and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields

import torch
from torch import Tensor

from vist3a.records import Cameras, Gaussians, Reconstruction


def must(holds: bool, sentence: str) -> None:
    """AssertionError with ``sentence`` unless it holds."""
    if not holds:
        raise AssertionError(sentence)


def refused(call: Callable[[], object], errors: type[Exception] | tuple[type[Exception], ...]) -> bool:
    """Whether a call ends in one of ``errors``."""
    try:
        call()
    except errors:
        return True
    return False


def close(ours: Tensor, wanted: Tensor, relative: float, sentence: str) -> None:
    """Equal shapes, and values up to ``relative`` of the largest one; the difference completes the sentence."""
    must(ours.shape == wanted.shape, f"{sentence}: shapes {tuple(ours.shape)} and {tuple(wanted.shape)}")
    off, scale = float((ours - wanted).abs().max()), float(wanted.abs().max())
    # Not "off > ...", which NaN passes.
    must(off <= relative * max(scale, 1e-3), f"{sentence} by {off:.3g} where values reach {scale:.3g}")


def differ(one: Tensor, other: Tensor, sentence: str) -> None:
    """Not the same up to rounding."""
    must(not torch.allclose(one, other, rtol=1e-6, atol=1e-8), sentence)


def refusal(attempt: Callable[[], object]) -> ValueError | None:
    """What an attempt is refused with; contracts refuse with a ValueError."""
    try:
        attempt()
    except ValueError as error:
        return error
    return None


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float, what: str) -> None:
    """AssertionError where tensors differ by more than ``tolerance`` of their largest value, in name or in shape."""
    if found.keys() != expected.keys():
        raise AssertionError(f"{what}: {', '.join(sorted(found.keys() ^ expected.keys()))} is there only once")
    for name, own in found.items():
        other = expected[name]
        must(own.shape == other.shape, f"{what}: {name} is {tuple(own.shape)}; expected {tuple(other.shape)}")
        distance = difference(own, other)
        must(
            distance <= tolerance,
            f"{what}: {name} differs by {distance:.2g} of its largest value; allowed: at most {tolerance:g}",
        )


def difference(one: Tensor, other: Tensor) -> float:
    """Largest difference over the largest value; infinite where a value is not finite."""
    if not one.numel():
        return 0.0
    found = float((one.double() - other.double()).abs().max() / other.double().abs().max().clamp(min=1e-12))
    # Where a value is not finite the quotient may be NaN, which compares with nothing.
    return found if torch.isfinite(one).all() and torch.isfinite(other).all() else float("inf")


def tensors(record: object) -> dict[str, Tensor]:
    """All tensors of a record and of the records in it, by name, batch first."""
    found: dict[str, Tensor] = {}
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if isinstance(value, Cameras | Gaussians):
            found |= {f"{field.name}.{name}": part for name, part in tensors(value).items()}
        elif isinstance(value, Tensor):
            # Encodings have their iterations first.
            found[field.name] = value.movedim(1, 0) if field.name == "pose_encodings" else value
    return found


def by_view(result: Reconstruction) -> dict[str, Tensor]:
    """All tensors [batch, views, ...]; Gaussians where there are as many of every view, in the order of the views."""
    views, found = result.depth.shape[1], {}
    for name, value in tensors(result).items():
        if name == "pose_encodings":
            found[name] = value.movedim(2, 1)
        elif not name.startswith("gaussians."):
            found[name] = value
        elif value.shape[1] % views == 0:
            found[name] = value.unflatten(1, (views, -1))
    return found


def spread(values: Iterable[str], count: int) -> list[str]:
    """At most ``count`` of the values, evenly spaced, the first and the last among them."""
    every = list(values)
    places = torch.linspace(0, len(every) - 1, min(count, len(every))).round().long().tolist()
    return [every[place] for place in places]
