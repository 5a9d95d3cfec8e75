"""One training loop for everything that is trained here.

It knows optimiser, schedule, clipping, moving average, checkpoints and logging; it does not know what is trained. All randomness
of a step comes from :func:`step_generator`, i.e. from (seed, step), so that a resumed run sees what the uninterrupted one would.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from vist3a.runtime.bounds import Count, NotNegative, Positive, PositiveFloat
from vist3a.runtime.checkpoint import load_checkpoint, save_checkpoint
from vist3a.runtime.launch import ALONE, Processes
from vist3a.runtime.muon import Muon
from vist3a.runtime.processes import sum_over
from vist3a.runtime.schedule import Schedule, rate_factor
from vist3a.runtime.step_log import Log

logger = logging.getLogger(__name__)

StepLoss = Callable[[int], tuple[Tensor, Mapping[str, Tensor]]]


@dataclass(frozen=True)
class LoopConfig:
    """Optimization of one network.

    Attributes:
        steps: Optimizer steps.
        learning_rate: Peak learning rate of AdamW.
        matrix_learning_rate: Peak learning rate of Muon (Jordan et al. 2024: momentum with its singular values made equal) for
            the weights of linear layers, with steps of the length that AdamW's would have at that rate. None: AdamW trains them.
        schedule: What follows the warm-up.
        warmup: Steps over which the learning rate rises.
        weight_decay: Decoupled decay of everything that has two axes or more.
        betas: Of AdamW.
        gradient_clip: Largest norm of the gradient of all parameters.
        ema: Decay of the average of the parameters, which replaces them at the end (None: no average).
        log_every: Steps between two lines of the log.
        checkpoint_every: Steps between two checkpoints.
    """

    steps: Positive
    learning_rate: PositiveFloat
    matrix_learning_rate: PositiveFloat | None = None
    schedule: Schedule = "cosine"
    warmup: Count = 100
    weight_decay: NotNegative = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    gradient_clip: PositiveFloat = 1.0
    ema: Annotated[float, Gt(0), Lt(1)] | None = 0.999
    log_every: Positive = 50
    checkpoint_every: Positive = 2000


def step_generator(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Random generator that depends on (seed, step) only."""
    # Hashed, so that neighboring seeds and steps have nothing in common; seven bytes are a valid seed.
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=7).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little"))


class TrainingLoop:
    """Runs ``config.steps`` optimiser steps over ``modules``; resumable.

    Gradients are taken for parameters that require them. Optimizer, average and checkpoint work on ``masters``: the parameters
    themselves, or copies in float32 of those in half precision, whose steps would be lost in rounding (bfloat16 keeps 8 bits; a
    step of 1e-4 of a weight of .05 is less than its last). The parameters then are their masters, rounded.

    After :meth:`run` the modules hold the averaged parameters when
    ``config.ema`` is set; a run that was cut short goes on from the unaveraged ones, by a second call or from the checkpoint,
    which holds both. Of several
    ``processes``, which hold equal modules, gradients are summed; all read the checkpoint, the first one writes it and logs.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        config: LoopConfig,
        checkpoint: Path | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.checkpoint, self.processes = config, checkpoint, processes
        self.parameters = {
            f"{name}.{key}": p for name, m in modules.items() for key, p in m.named_parameters() if p.requires_grad
        }
        if not self.parameters:
            raise ValueError("nothing to train: no parameter requires a gradient")
        self.masters = {name: _master(parameter) for name, parameter in self.parameters.items()}
        values = list(self.masters.values())
        self.device = values[0].device
        # Muon is for maps between features; embeddings, convolutions, and what has one axis stay with AdamW.
        linear = {id(m.weight) for module in modules.values() for m in module.modules() if isinstance(m, nn.Linear)}
        matrices = [self.masters[name] for name, p in self.parameters.items() if id(p) in linear]
        self.optimizers = _optimizers(values, matrices, config)
        self.average = [p.detach().clone() for p in values] if config.ema is not None else []
        self.step = 0
        self.skipped = 0
        # Of a run that stopped early, the trained values, whose place in the modules the average takes.
        self._trained: list[Tensor] = []
        # Terms that only some steps have are logged with their last value.
        self._latest: dict[str, Tensor] = {}
        if checkpoint is not None and checkpoint.is_file():
            self._load(load_checkpoint(checkpoint, self.device))

    def run(self, step_loss: StepLoss, log: Log | None = None, max_seconds: float | None = None) -> int:
        """Train to the end, or for about ``max_seconds``; returns the number of steps done so far, earlier runs included.

        ``step_loss(step)`` gives the loss and named scalar tensors to log; a loss without a graph has left its gradients on the
        parameters already. Steps whose gradient is not finite are skipped and counted (``skipped``).
        """
        self._use_trained()
        values = list(self.masters.values())
        start = time.monotonic()
        while self.step < self.config.steps:
            loss, parts = step_loss(self.step)
            self._latest.update({name: part.detach() for name, part in parts.items()})
            if loss.requires_grad:
                loss.backward()
            loss = loss.detach()
            self._hand_over_gradients()
            self._sum_gradients(values)
            # Of the summed gradients, so that all processes clip alike, and skip the same steps.
            norm = torch.nn.utils.clip_grad_norm_(values, self.config.gradient_clip)
            if bool(torch.isfinite(norm)):
                factor = rate_factor(self.config.schedule, self.step, self.config.steps, self.config.warmup)
                for optimizer, rate in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = rate * factor
                    optimizer.step()
                self._update_average(values)
                self._put(values)
            else:
                self.skipped += 1
            for parameter in values:
                parameter.grad = None
            self.step += 1
            due = self.step % self.config.log_every == 0 or self.step == self.config.steps
            if log is not None and due and self.processes.first:
                scalars = {"loss": float(loss), "gradient_norm": float(norm), "skipped_steps": float(self.skipped)}
                log(self.step, scalars | {k: float(v) for k, v in self._latest.items()})
            if self.step % self.config.checkpoint_every == 0:
                self.save()
            if max_seconds is not None and time.monotonic() - start > max_seconds:
                break
        self.save()
        self.use_average()
        return self.step

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the modules hold the averaged parameters (no effect without ``ema``); afterwards what they held, to the bit."""
        if not self.average:
            yield
            return
        held = [parameter.detach().clone() for parameter in self.parameters.values()]
        self._put(self.average)
        try:
            yield
        finally:
            self._put(held)

    def use_average(self) -> None:
        """Put the averaged parameters into the modules (no effect without ``ema``)."""
        if not self.average:
            return
        if self.step < self.config.steps and not self._trained:
            self._trained = [master.detach().clone() for master in self.masters.values()]
        self._put(self.average)

    def _use_trained(self) -> None:
        """Undo :meth:`use_average`, so that another run goes on where the last one stopped."""
        if self._trained:
            with torch.no_grad():
                torch._foreach_copy_(list(self.masters.values()), self._trained)
            self._put(self.masters.values())
            self._trained = []

    def save(self) -> None:
        """Write the checkpoint, if one is kept."""
        if self.checkpoint is not None and self.processes.first:
            save_checkpoint(
                self.checkpoint,
                {
                    "config": asdict(self.config),
                    "step": self.step,
                    "skipped": self.skipped,
                    "latest": self._latest,
                    "parameters": {k: p.detach() for k, p in self.masters.items()},
                    "average": self.average,
                    "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
                },
            )

    def _hand_over_gradients(self) -> None:
        for name, parameter in self.parameters.items():
            master = self.masters[name]
            if master is not parameter and parameter.grad is not None:
                master.grad, parameter.grad = parameter.grad.to(master.dtype), None

    def _put(self, values: Iterable[Tensor]) -> None:
        """Give the modules' parameters these values, rounded to their type."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters.values(), values, strict=True):
                if parameter is not value:
                    parameter.copy_(value)

    def _sum_gradients(self, values: list[nn.Parameter]) -> None:
        if self.processes.count > 1:
            for parameter in values:
                if parameter.grad is None:
                    # Not touched by this process's share, maybe by that of another.
                    parameter.grad = torch.zeros_like(parameter)
            sum_over(self.processes, [parameter.grad for parameter in values if parameter.grad is not None])

    def _update_average(self, values: list[nn.Parameter]) -> None:
        if self.config.ema is not None:
            # Early on a long average would remember the initialisation: ramp the decay up.
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, [p.detach() for p in values], 1 - decay)

    def _load(self, state: dict[str, Any]) -> None:
        if state["parameters"].keys() != self.parameters.keys():
            raise ValueError(f"{self.checkpoint}: checkpoint of other parameters; delete it to start anew")
        with torch.no_grad():
            for key, master in self.masters.items():
                master.copy_(state["parameters"][key])
        self._put(self.masters.values())
        self.average = [a.to(self.device) for a in state["average"]]
        for (optimizer, _), stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.step, self.skipped, self._latest = int(state["step"]), int(state["skipped"]), state.get("latest", {})
        logger.info("resumed %s at step %d of %d", self.checkpoint, self.step, self.config.steps)


def _master(parameter: nn.Parameter) -> nn.Parameter:
    """What the optimizer steps: the parameter, or a copy in float32 where its type is of half precision."""
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    return parameter if dtype == parameter.dtype else nn.Parameter(parameter.detach().to(dtype))


def _optimizers(
    trained: list[nn.Parameter], matrices: list[nn.Parameter], config: LoopConfig
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Optimizers with their learning rates; each trained parameter is in one of them, ``matrices`` of linear layers in Muon's."""
    if config.matrix_learning_rate is None:
        matrices = []
    chosen = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in chosen]
    found: list[tuple[torch.optim.Optimizer, float]] = []
    if rest:
        # Gains, biases, tokens and embeddings of one axis are not decayed.
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        fused = rest[0].device.type == "cuda"
        adam = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)
        found.append((adam, config.learning_rate))
    if matrices and config.matrix_learning_rate is not None:
        muon = Muon(matrices, lr=config.matrix_learning_rate, weight_decay=config.weight_decay)
        found.append((muon, config.matrix_learning_rate))
    return found
