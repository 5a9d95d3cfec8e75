"""What workers of an evaluation do: sample and score blocks of prompts, before alignment and after."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vist3a.generators.base import VideoGenerator
from vist3a.metrics.direction import load_metrics
from vist3a.records import Condition
from vist3a.records.condition import Embed
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.runtime.run_folder import run_folder
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.runtime.workers.work import Done, Failed
from vist3a.runtime.workers.working import working
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.reward_models import load_reward_models
from vist3a_app.pipelines.aligned import load_adapter
from vist3a_app.pipelines.evaluate.generation import Evaluation, Generated, blocks_of, joined
from vist3a_app.pipelines.evaluate.judge import load_judge
from vist3a_app.pipelines.evaluate.kept_block import KeptBlock
from vist3a_app.pipelines.evaluate.params import EvaluateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.stitched import load_decoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What is evaluated, as it travels to the workers; ``negative`` is in host memory."""

    params: EvaluateParams
    align: AlignParams
    networks: Networks
    stitched_decoder: Path
    aligned_generator: Path
    prompts: Sequence[str]
    embed: Embed
    negative: Condition

    def load(self) -> Evaluation:
        """The networks and scorers."""
        params, align, networks = self.params, self.align, self.networks
        device, rewards = resolve_device(networks.device), networks.known.rewards
        metrics = load_metrics(params.metrics, "evaluate.metrics")
        decoder = load_decoder(networks, self.stitched_decoder)
        has_gaussians = decoder.network.has_gaussians
        # The reward as alignment had it, without the judge that watched it.
        reward = load_reward_models(align, has_gaussians, device, rewards, watched=False).reward
        judge = load_judge(params, align, has_gaussians, device, rewards)
        return Evaluation(
            params,
            decoder,
            networks.load_reconstruction(),
            renderer_for(device),
            {"reward": reward, **judge.scores},
            judge,
            metrics,
            self.prompts,
            self.embed,
            self.negative.to(device),
            device,
        )


class BlockWork:
    """Measures and keeps blocks with one generator: only the adapter comes in between, prompts and noise stay."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._evaluation = asked, asked.load()
        self._generator, self._aligned = self._unaligned(), False

    def __call__(self, kept: KeptBlock, done: Done) -> None:
        """One block."""
        if kept.aligned and not self._aligned:
            asked = self._asked
            load_adapter(asked.networks, self._generator, asked.aligned_generator, asked.stitched_decoder)
        elif self._aligned and not kept.aligned:
            # A block from before that another worker has left: this one is on to those after.
            self._generator = self._unaligned()
        self._aligned = kept.aligned
        kept.keep(self._evaluation.measure(self._generator, kept.block))
        done(kept.block.stop - kept.block.start)

    def _unaligned(self) -> VideoGenerator:
        return self._asked.networks.load_generator("vae", "denoiser")


@dataclass(frozen=True)
class States:
    """Of the same ``prompts``, by their places; ``quarantined`` are the reasons of others that failed in either state."""

    before: Generated
    after: Generated
    places: list[int]
    quarantined: dict[str, str]


def state_folder(asked: Asked, encoder: str, checkpoints: Path) -> Path:
    """Where an unfinished evaluation keeps its state: named by all that changes a figure."""
    settings = (asked.params.model_dump(), asked.align.model_dump())
    # Scorers and judges that lie here count by their bytes.
    places = [Path(value) for group in settings for value in group.values() if isinstance(value, str) and value]
    return run_folder(
        checkpoints, "evaluate", asked.params.model_dump_json(), asked.align.model_dump_json(),
        asked.networks.model_dump_json(), repr(asked.networks.pairing), repr(asked.networks.denoiser), encoder,
        "\n".join(asked.prompts), *(place for place in places if place.exists()), asked.stitched_decoder,
        asked.aligned_generator,
    )  # fmt: skip


def measure_states(asked: Asked, state: Path, workers: WorkerSettings) -> States:
    """The generator before and after alignment; blocks that an earlier run has left in ``state`` are taken up.

    Raises:
        Exception: What the first block failed with, where none was measured in both states.
    """
    blocks = blocks_of(len(asked.prompts), asked.params.batch)
    everything = [KeptBlock(block, aligned, state) for aligned in (False, True) for block in blocks]
    missing = [kept for kept in everything if not kept.is_there]
    failed: dict[int, Failed] = {}
    cuda = resolve_device(asked.networks.device).type == "cuda"
    there = sum(kept.block.stop - kept.block.start for kept in everything if kept.is_there)
    load: Callable[[], BlockWork] = partial(BlockWork, asked)
    total = 2 * len(asked.prompts)
    with working("evaluate", load, missing, workers, total=total, before=there, cuda=cuda) as outcomes:
        for kept, outcome in outcomes:
            if isinstance(outcome, Failed):
                failed.setdefault(kept.block.start, outcome)
    if len(failed) == len(blocks):
        raise next(iter(failed.values())).error
    # In pairs: what failed in one state is left out in both.
    good = [block for block in blocks if block.start not in failed]
    quarantined = {
        asked.prompts[place]: failed[block.start].reason
        for block in blocks
        if block.start in failed
        for place in range(block.start, block.stop)
    }
    for prompt, reason in quarantined.items():
        logger.warning("quarantined %r: %s", prompt[:100], reason)
    before, after = (joined([KeptBlock(block, aligned, state).read() for block in good]) for aligned in (False, True))
    return States(before, after, [place for block in good for place in range(block.start, block.stop)], quarantined)
