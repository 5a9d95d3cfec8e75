"""Conditions of texts as files, by content: a text is embedded once, and the encoder is gone before the denoiser comes."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition
from vist3a.runtime.atomic import replacing
from vist3a.runtime.workers.settings import HERE, WorkerSettings
from vist3a.runtime.workers.work import Done, Failed
from vist3a.runtime.workers.working import working

logger = logging.getLogger(__name__)

CUT = "cut"
PLACE = "{prompt}"
"""Of a prompt in a template."""


class ConditionStore:
    """One safetensors file per (encoder, text) in ``folder``; ``identity`` says which encoder.

    Called with texts it gives their conditions on ``device``.
    """

    def __init__(self, folder: Path, identity: str, device: torch.device | str = "cpu") -> None:
        self.folder, self.identity, self.device = folder, identity, device

    def __call__(self, texts: Sequence[str]) -> Condition:
        """Conditions of ``texts`` in their order; KeyError for one that was never embedded."""
        return Condition.cat([self._load(text) for text in texts]).to(self.device)

    def path(self, text: str) -> Path:
        """Where the condition of a text lies; the name is a hash, so that no text can leave the folder."""
        name = hashlib.sha256(f"{self.identity}\n{text}".encode()).hexdigest()
        return self.folder / f"{name}.safetensors"

    def fill(
        self, texts: Iterable[str], load_encoder: Callable[[], VideoGenerator], workers: WorkerSettings = HERE
    ) -> int:
        """Embed the texts that have no file yet, each alone; the number of them.

        The encoder is loaded only if there are any, once by each of the ``workers``. A text that cannot be embedded is an error,
        and the others that were stay.
        """
        missing = [text for text in dict.fromkeys(texts) if not self.path(text).is_file()]
        if not missing:
            return 0
        encoders: list[VideoGenerator] = []

        def load_here() -> _Embedding:
            encoders.append(load_encoder())
            return _Embedding(self, encoders[0])

        load = load_here if workers.kind == "here" else partial(_embedding, self, load_encoder)
        cuda = torch.device(self.device).type == "cuda"
        with working("embed prompts", load, missing, workers, total=len(missing), cuda=cuda) as outcomes:
            for _, outcome in outcomes:
                if isinstance(outcome, Failed):
                    raise outcome.error
        # Freed before the caller loads the denoiser: both at once may not fit.
        for encoder in encoders:
            encoder.release("text")
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return len(missing)

    def _save(self, text: str, condition: Condition) -> None:
        tensors, cut = {}, {}
        for name, tensor in condition.tensors.items():
            kept = tensor
            if tensor.ndim > 2:  # embeddings that are zero behind the end of a short text
                used = tensor.flatten(2).ne(0).any(-1).any(0).nonzero()
                # Embeddings that are all zero keep one token.
                kept = tensor[:, : int(used.max()) + 1 if len(used) else 1]
                cut[name] = tensor.shape[1]
            tensors[name] = kept.detach().cpu().contiguous()
        with replacing(self.path(text)) as partial:
            save_file(tensors, partial, {CUT: json.dumps(cut)})

    def _load(self, text: str) -> Condition:
        path = self.path(text)
        if not path.is_file():
            raise KeyError(f"the text {text!r} has no embedding in {self.folder}")
        tensors = {}
        with safe_open(path, "pt") as file:
            cut = json.loads(file.metadata()[CUT])
            for name in file.keys():  # noqa: SIM118 (no mapping)
                tensor = file.get_tensor(name)
                if name in cut:
                    missing = cut[name] - tensor.shape[1]
                    tensor = torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1)
                tensors[name] = tensor
        return Condition(tensors)


class _Embedding:
    """What a worker does: embed one text after the other into files."""

    def __init__(self, store: ConditionStore, encoder: VideoGenerator) -> None:
        self._store, self._encoder = store, encoder

    @torch.no_grad()
    def __call__(self, text: str, done: Done) -> None:
        self._store._save(text, self._encoder.embed([text]))
        done(1)


def _embedding(store: ConditionStore, load_encoder: Callable[[], VideoGenerator]) -> _Embedding:
    return _Embedding(store, load_encoder())


@dataclass(frozen=True)
class AskedConditions:
    """Stored conditions of prompts, each in the place of ``{prompt}`` in a template; they travel to other processes."""

    files: ConditionStore
    template: str

    def __call__(self, prompts: Sequence[str]) -> Condition:
        """Conditions of ``prompts`` in their order; KeyError for one that was never embedded."""
        return self.files([in_template(self.template, prompt) for prompt in prompts])


def in_template(template: str, prompt: str) -> str:
    """The text that the encoder sees.

    Example:
        >>> in_template("a photo of {prompt}", "a red ball")
        'a photo of a red ball'
    """
    return template.replace(PLACE, prompt)


def encoder_identity(source: str, revision: str | None, *settings: object) -> str:
    """Which text encoder it is: the bytes of a local folder's encoders and tokenizers, or the commit on the hub."""
    folder = Path(source).expanduser()
    where = _bytes_of(folder) if folder.is_dir() else f"{source}@{_commit(source, revision)}"
    return "\n".join([where, *map(str, settings)])


def _bytes_of(folder: Path) -> str:
    files = [f for part in ("text_encoder*", "tokenizer*") for f in folder.glob(f"{part}/*") if f.is_file()]
    # Sizes and times are part of the key: a file that changed is hashed again.
    stamps = tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files))
    return _hash_files(folder, stamps)


@cache
def _hash_files(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    """Hash of the files as they were at these times; a run asks several times."""
    digest = hashlib.sha256()
    for name, _, _ in stamps:
        digest.update(Path(name).relative_to(folder).as_posix().encode())
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _commit(source: str, revision: str | None) -> str:
    from huggingface_hub import hf_hub_download

    # .../snapshots/COMMIT/model_index.json
    return Path(hf_hub_download(source, "model_index.json", revision=revision)).parent.name
