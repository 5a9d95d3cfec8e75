"""Parts by name: what a configuration calls ``wan`` or ``my_package.ltx:LTXVideo`` becomes a class.

A part is known in one of three ways, looked up in this order:

1. by its place, ``package.module:Name``, of anything that can be imported;
2. by a name that a program gave it with :func:`register`;
3. by a name of ours or of an installed package, which declares it as an entry point of the group ``vist3a.<kind>``::

       [project.entry-points."vist3a.generators"]
       ltx_video = "my_package.ltx:LTXVideo"

Nothing is imported before it is asked for.

Example:
    >>> from vist3a import registry
    >>> registry.find("networks", "vggt").__name__
    'VGGT'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, TypeVar

Part = TypeVar("Part")

GROUP = "vist3a"
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "generators": "a vist3a.generators.base.VideoGenerator",
        "networks": "a vist3a.networks.template.EnterableNetwork",
        "scorers": "a vist3a.alignment.rewards.text_image.TextImageScorer with from_pretrained(folder, device)",
        "rewards": "a vist3a.alignment.rewards.base.Reward without arguments",
        "generator_presets": "a mapping of settings by parameter group, or the path of a YAML file of them",
        "network_presets": "a mapping of settings by parameter group, or the path of a YAML file of them",
        "readers": "a module or class with is_scene(folder) and load(folder)",
        "worlds": "a vist3a.data.world.World",
        "metrics": "a vist3a.metrics.direction.Metric without arguments",
        "exporters": "a vist3a.export.formats.Exporter",
    }
)
"""The kinds of parts, and what a part of each has to be."""
OURS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "generators": {
            "wan": "vist3a.generators.wan:WanGenerator",
            "cogvideox": "vist3a.generators.cogvideox:CogVideoXGenerator",
            "hunyuan_video": "vist3a.generators.hunyuan_video:HunyuanVideoGenerator",
            "svd": "vist3a.generators.svd:SVDGenerator",
            "anyflow": "vist3a.generators.anyflow:AnyFlowGenerator",
        },
        "networks": {
            "vggt": "vist3a.networks.vggt:VGGT",
            "anysplat": "vist3a.networks.anysplat:AnySplat",
            "depth_anything3": "vist3a.networks.depth_anything3:DepthAnything3",
            "mvdust3r": "vist3a.networks.mvdust3r:MVDust3r",
        },
        "metrics": {
            "off_path": "vist3a.metrics.off_path:OffPathMetric",
            "sift": "vist3a.metrics.epipolar:EpipolarSift",
            "vmaf": "vist3a.metrics.vmaf:Vmaf",
            "efficientnet": "vist3a.metrics.efficientnet:EfficientNetFeatures",
            "warping": "vist3a.metrics.warping:Warping",
            "flicker": "vist3a.metrics.video:Flicker",
        },
        # Of whole scenes more is written whatever is asked for (export/scene.py).
        "exporters": {
            "ply": "vist3a.export.gaussian_file:PLY",
            "spz": "vist3a.export.gaussian_file:SPZ",
            "glb": "vist3a.export.gaussian_file:GLB",
            "compressed_ply": "vist3a.export.gaussian_file:COMPRESSED_PLY",
            "sog": "vist3a.export.gaussian_file:SOG",
            "mesh": "vist3a.export.mesh_file:mesh_glb",
            "mesh_ply": "vist3a.export.mesh_file:mesh_ply",
            "collision": "vist3a.export.mesh_file:collision_glb",
            "usd": "vist3a.export.usd:usd_package",
        },
    }
)
_registered: dict[tuple[str, str], Any] = {}


def register(kind: str, name: str) -> Callable[[Part], Part]:
    """Decorator that makes a class or function known by a name for the rest of the process.

    Raises:
        ValueError: The kind is unknown, or the name is one of another part.

    Example:
        >>> @register("rewards", "few_gaussians")
        ... class FewGaussians: ...
    """
    _check_kind(kind)

    def keep(part: Part) -> Part:
        # The same part under the same name again is no mistake.
        if name in names(kind) and _registered.get((kind, name)) is not part:
            raise ValueError(f"{kind}: {name!r} is the name of another part; allowed: a name that is free")
        _registered[kind, name] = part
        return part

    return keep


def find(kind: str, name: str, where: str | None = None) -> Any:
    """The part that ``name`` means; ``where`` is the parameter that said so.

    Raises:
        ValueError: Nothing is known by this name, or what its place names cannot be imported; the sentence lists what is allowed.
    """
    _check_kind(kind)
    if (kind, name) in _registered:
        return _registered[kind, name]
    declared = place(kind, name)
    said = where or kind
    if declared is None:
        allowed = ", ".join(names(kind)) or "none"
        raise ValueError(f"{said}: {name!r}; allowed: {allowed}, or the place of your own (package.module:Name)")
    module, _, attribute = declared.partition(":")
    try:
        found: Any = import_module(module)
    except ImportError as error:
        raise ValueError(f"{said}: {name!r}: {module} cannot be imported ({error}); allowed: {KINDS[kind]}") from error
    # An attribute may be nested, as in ``module:Outer.Inner``.
    for step in attribute.split(".") if attribute else ():
        if not hasattr(found, step):
            raise ValueError(f"{said}: {name!r}: {module} has no {attribute}; allowed: {KINDS[kind]}")
        found = getattr(found, step)
    return found


def place(kind: str, name: str) -> str | None:
    """Where a part stands that a name means in every program, ``package.module:Name``; None if there is none. Imports nothing."""
    _check_kind(kind)
    return name if ":" in name else _declared(kind).get(name)


def names(kind: str) -> tuple[str, ...]:
    """All names of a kind: ours first, then those of installed packages and of this program."""
    _check_kind(kind)
    return tuple(dict.fromkeys([*_declared(kind), *(name for other, name in _registered if other == kind)]))


def forget() -> None:
    """Look anew at what is installed; for programs that install while they run."""
    _declared.cache_clear()


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind of part {kind!r}; allowed: {', '.join(KINDS)}")


@cache
def _declared(kind: str) -> Mapping[str, str]:
    """Place by name: ours, then entry points of installed packages."""
    found = {entry.name: entry.value for entry in entry_points(group=f"{GROUP}.{kind}")}
    return {
        **OURS.get(kind, {}),
        **{name: place for name, place in sorted(found.items()) if name not in OURS.get(kind, {})},
    }
