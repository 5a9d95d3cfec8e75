"""What a worker of extraction does: load the two networks, write the moments of one shard after the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from vist3a.data.clip_store import ClipStore
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.runtime.workers.work import Done, Failed, Load, Work
from vist3a.runtime.workers.working import working
from vist3a.stitching.extract import TapConfig, tap_settings
from vist3a.stitching.shards import Shard, write_shard
from vist3a.stitching.tap import Tap
from vist3a_app.pipelines.extract.params import ExtractParams
from vist3a_app.pipelines.networks import Networks


def load_tap(params: ExtractParams, networks: Networks, store: ClipStore) -> Tap:
    """The networks, and what is tapped of them."""
    generator, network = networks.load_generator("vae"), networks.load_reconstruction()
    height, width = store.load_frames(store.names("fit")[0]).shape[-2:]
    settings = tap_settings(
        generator, network, network.points_of(params.kinds), (height, width), params.part(TapConfig)
    )
    return Tap(generator, network, settings)


def shard_work(params: ExtractParams, networks: Networks, store: ClipStore) -> Work[Shard, None]:
    """The work, with networks of its own."""
    return _work(load_tap(params, networks, store), store, params.batch)


def loading(
    tap: Tap, params: ExtractParams, networks: Networks, store: ClipStore, workers: WorkerSettings
) -> Load[Shard, None]:
    """How the work is loaded: where it is done in this process, ``tap`` is there already."""
    if workers.kind == "here":
        return lambda: _work(tap, store, params.batch)
    return partial(shard_work, params, networks, store)


def make_shards(
    load: Load[Shard, None], shards: Sequence[Shard], workers: WorkerSettings, device: torch.device
) -> None:
    """Have the files written that are not there.

    The error of a shard ends the run: what follows needs the very clips of the index, none less. Finished shards stay.
    """
    missing = [shard for shard in shards if not shard.file.is_file()]
    clips, left = (sum(len(shard.names) for shard in some) for some in (shards, missing))
    cuda = device.type == "cuda"
    with working("extract", load, missing, workers, total=clips, before=clips - left, cuda=cuda) as outcomes:
        for _, outcome in outcomes:
            if isinstance(outcome, Failed):
                raise outcome.error


def _work(tap: Tap, store: ClipStore, batch: int) -> Work[Shard, None]:
    def work(shard: Shard, done: Done) -> None:
        write_shard(tap, shard, store.load_frames, batch=batch, done=done)

    return work
