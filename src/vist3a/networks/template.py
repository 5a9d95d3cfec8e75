"""The template of 3D networks: who writes three methods has a network that can be stopped at, and entered behind, any block."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vist3a.networks.blocks.config import NetworkConfig
from vist3a.networks.checkpoints import CheckpointedNetwork
from vist3a.records import Reconstruction, StitchPoint, TokenState

ConfigT = TypeVar("ConfigT", bound=NetworkConfig)
Taps = dict[int, Tensor]
States = dict[str, TokenState]
Grid = tuple[int, int]


class EnterableNetwork(CheckpointedNetwork[ConfigT]):
    """A 3D network as a chain of stages, each of which can be tapped and entered.

    A new network writes three methods,

    1. :meth:`embed`: frames -> the tokens that enter stage 0,
    2. :meth:`advance`: the tokens behind stage k - 1 -> those behind stage k,
    3. :meth:`heads`: the tokens that heads read -> :class:`~vist3a.records.Reconstruction`,

    and says in its class

    - ``config_class``: a frozen dataclass on :class:`~vist3a.networks.blocks.config.NetworkConfig`, which holds every size,
    - ``trunk_parts``: the fields with blocks and embeddings, which half precision and compilation are for,
    - ``needs_rgb``, ``has_gaussians``; and where the defaults of :class:`~vist3a.networks.base.ReconstructionModel` are not
      its own: ``token_roles``, ``fixed_views``, ``origin_view``, ``points_from_depth``, ``positive_depth``,

    and in its constructor, after ``super().__init__(config)``,

    - ``self.patch_size``,
    - ``self.stages``: a :class:`~vist3a.records.StitchPoint` for every stage, in order (``complete`` is found out here),
    - ``self.read``: the numbers of the stages whose tokens :meth:`heads` reads; the last one must be among them,
    - ``self.blocks``: an ``nn.ModuleList`` with a module per stage, and ``embedding_parts``, the fields that only
      :meth:`embed` reads. Networks that keep them elsewhere override :meth:`drop` and :meth:`entry_dtype`.

    Tokens are ``[batch, views, tokens, channels]`` throughout; special tokens lie before the patches unless :meth:`join` and
    :meth:`part` say otherwise. Blocks cast to the type of their matrices, as :class:`~vist3a.networks.blocks.transformer.Block`
    does, so that these can be narrowed; those with ``compiled_alone`` are compiled one by one.

    ``vist3a.testing.networks.check_network`` says whether all of it holds; ``examples/`` has a whole network in one file.
    ``**known`` is what a network can be told beside the frames, as Depth Anything 3 can of cameras.
    """

    stages: tuple[StitchPoint, ...] = ()
    read: tuple[int, ...] = ()
    blocks: nn.ModuleList
    embedding_parts: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def embed(
        self, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views tokens channels"]:
        """Tokens entering stage 0, from RGB in [0, 1] at the network's own size."""

    def advance(
        self, stage: int, tokens: Float[Tensor, "batch views tokens channels"], grid: Grid
    ) -> Float[Tensor, "batch views new_tokens new_channels"]:
        """Tokens behind ``stage`` from those before it; patches lie on ``grid`` (rows, columns).

        Networks that override :meth:`run` have no use for it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no advance(stage, tokens, grid)")

    def join(
        self,
        special: Float[Tensor, "batch views special channels"],
        patches: Float[Tensor, "batch views patches channels"],
    ) -> Float[Tensor, "batch views tokens channels"]:
        """Tokens of a frame as the blocks have them: special tokens first."""
        return torch.cat([special, patches], dim=2)

    def part(
        self, tokens: Float[Tensor, "batch views tokens channels"], special: int
    ) -> tuple[Float[Tensor, "batch views special channels"], Float[Tensor, "batch views patches channels"]]:
        """Inverse of :meth:`join` for so many ``special`` tokens."""
        return tokens[:, :, :special], tokens[:, :, special:]

    @property
    def stitch_points(self) -> tuple[StitchPoint, ...]:
        """Every stage."""
        return tuple(replace(point, complete=not self.required_taps(k)) for k, point in enumerate(self.stages))

    def required_taps(self, stage: int) -> dict[int, tuple[int, int]]:
        """By depth, special tokens and width of the taps that a state at ``stage`` must hold: what heads read before it."""
        return {tap: (self.stages[tap].special_tokens, self.stages[tap].width) for tap in self.read if tap < stage}

    def run(
        self,
        tokens: Float[Tensor, "batch views tokens channels"],
        grid: Grid,
        first: int,
        last: int,
        taps: Mapping[int, Tensor],
        keep: Sequence[str],
        reference: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Taps, States]:
        """Run the stages after ``first``, whose output is ``tokens`` (-1: what was embedded), through ``last``.

        ``taps`` are those of the state at ``first``, ``reference`` the view that it names. Returns the taps known after ``last``
        and the states at the points ``keep``.
        """
        collected, states = dict(taps), dict[str, TokenState]()
        # From ``first``, whose own tokens may be kept or read, too.
        for stage in range(first, last + 1):
            if stage > first:
                tokens = self._recomputed(stage, tokens, grid)
            if stage >= 0 and self.stages[stage].name in keep:
                special, patches = self.part(tokens, self.stages[stage].special_tokens)
                name = self.stages[stage].name
                states[name] = TokenState(name, patches.unflatten(2, grid), special, dict(collected), reference)
            if stage in self.read:
                collected[stage] = tokens
        return collected, states

    def trunk(
        self, frames: Float[Tensor, "batch views 3 height width"], keep: Sequence[str] = (), **known: Any
    ) -> tuple[Taps, States]:
        """What the heads read, by depth, and the states at the points ``keep``."""
        return self._run_frames(frames, keep, len(self.stages) - 1, known)

    def run_from(
        self, state: TokenState, size: tuple[int, int], keep: Sequence[str] = (), until: str | None = None, **known: Any
    ) -> tuple[Taps, States]:
        """As :meth:`trunk`, continuing behind ``state.point`` up to ``until`` for frames of ``size`` (height, width)."""
        # Unknown names are refused before anything runs.
        self._stages(keep)
        last = len(self.stages) - 1 if until is None else self._stages([until])[0]
        stage = self._stages([state.point])[0]
        self._require_entry(stage)
        grid, dtype = self.token_grid(*size), self.entry_dtype(stage, state.patch_tokens.dtype)
        tokens, taps = self._check(state, grid, self.required_taps(stage), dtype)
        return self.run(tokens, grid, stage, last, taps, keep, state.reference, **known)

    def tokens_at(
        self, points: Sequence[str], frames: Float[Tensor, "batch views 3 height width"], **known: Any
    ) -> States:
        """States at the named points for RGB frames in [0, 1]; nothing behind the last of them is run."""
        stages = self._stages(points)
        return self._run_frames(frames, points, max(stages), known)[1] if stages else {}

    def reconstruct(
        self, frames: Float[Tensor, "batch views 3 height width"], with_gaussians: bool = True, **known: Any
    ) -> Reconstruction:
        """The whole network on RGB frames in [0, 1]; ``with_gaussians`` false skips a Gaussian head."""
        taps, _ = self.trunk(frames, **known)
        return self.heads(taps, self.frame_size(*frames.shape[-2:]), frames, with_gaussians, **known)

    def forward(
        self, frames: Float[Tensor, "batch views 3 height width"], with_gaussians: bool = True, **known: Any
    ) -> Reconstruction:
        """Same as :meth:`reconstruct`, so that wrappers that hook the call of a module work."""
        return self.reconstruct(frames, with_gaussians, **known)

    def reconstruct_from(
        self,
        state: TokenState,
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
        **known: Any,
    ) -> Reconstruction:
        """The rest of the network behind ``state.point`` (exact entry) for frames of ``size`` (height, width)."""
        self.require_rgb(rgb, with_gaussians)
        taps, _ = self.run_from(state, size, **known)
        return self.heads(taps, size, rgb, with_gaussians, **known)

    def require_rgb(self, rgb: Tensor | None, with_gaussians: bool) -> Tensor | None:
        """The image as the heads see it; ValueError when a head misses it (of networks with Gaussians, their head)."""
        if rgb is None and (self.needs_rgb if with_gaussians else self.geometry_needs_rgb):
            head = "the Gaussian head" if self.has_gaussians else "a head"
            raise ValueError(f"{head} of {type(self).__name__} reads the image: pass rgb")
        return None if rgb is None else self.fit(rgb)

    def entry_dtype(self, stage: int, given: torch.dtype) -> torch.dtype:
        """In which type the tokens of a state at ``stage`` go on: that of the parameters, but for narrowed matrices, behind it.

        ``given``, the state's own, where nothing is left that would say.
        """
        behind = (block for block in self.blocks[stage + 1 :] for block in block.modules())
        own = (p for m in behind if not isinstance(m, nn.Linear | nn.Conv2d) for p in m.parameters(recurse=False))
        return next((parameter.dtype for parameter in own), given)

    def drop_before(self, point: str, **options: Any) -> None:
        """Delete the parameters that nothing behind ``point`` uses; keys of the remaining ones do not change."""
        stage = self._stages([point])[0]
        self._require_entry(stage)
        self.drop(stage, **options)
        self.entry = point

    def drop(self, stage: int) -> None:
        """Delete the parameters that the stages after ``stage`` do not use."""
        for name in self.embedding_parts:
            setattr(self, name, None)
        # An identity in each place, so that the keys of the blocks behind stay as they are.
        for block in range(stage + 1):
            self.blocks[block] = nn.Identity()

    def _run_frames(
        self, frames: Tensor, keep: Sequence[str], last: int, known: Mapping[str, Any]
    ) -> tuple[Taps, States]:
        self._stages(keep)
        frames = self.fit(frames)
        grid = self.token_grid(frames.shape[-2], frames.shape[-1])
        self._require_entry(-1)
        # Nested, so that embedded images are not kept while the blocks run.
        return self.run(self.embed(frames), grid, -1, last, {}, keep, **known)

    def _recomputed(self, stage: int, tokens: Tensor, grid: Grid) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            result: Tensor = checkpoint(self.advance, stage, tokens, grid, use_reentrant=False)
            return result
        return self.advance(stage, tokens, grid)

    def _stages(self, names: Iterable[str]) -> list[int]:
        order = {point.name: stage for stage, point in enumerate(self.stages)}
        # For an unknown name ``stitch_point`` raises the error that lists the allowed ones.
        return [order[name] if name in order else order[self.stitch_point(name).name] for name in names]

    def _require_entry(self, stage: int) -> None:
        if self.entry is not None and stage < self._stages([self.entry])[0]:
            raise RuntimeError(
                f"the blocks before {self.entry!r} were dropped: enter there or later (reconstruct_from)"
            )

    def _check(
        self, state: TokenState, grid: Grid, required: Mapping[int, tuple[int, int]], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "batch views tokens channels"], Taps]:
        """Tokens and taps of a state in ``dtype``; ValueError where they do not fit frames of ``grid`` tokens."""
        point = self.stitch_point(state.point)
        batch, views, rows, columns, width = state.patch_tokens.shape
        if (rows, columns) != grid:
            raise ValueError(f"patch tokens lie on a {rows}x{columns} grid, frames of this size on {grid[0]}x{grid[1]}")
        expected = (batch, views, point.special_tokens, point.width)
        if width != point.width or tuple(state.special_tokens.shape) != expected:
            raise ValueError(
                f"{state.point}: patch tokens of width {width}, special tokens {tuple(state.special_tokens.shape)}; "
                f"expected width {point.width} and {expected}"
            )
        shapes = {k: (batch, views, special + rows * columns, size) for k, (special, size) in required.items()}
        wrong = [
            f"{depth} ({'missing' if depth not in state.taps else tuple(state.taps[depth].shape)})"
            for depth, shape in shapes.items()
            if depth not in state.taps or tuple(state.taps[depth].shape) != shape
        ]
        if wrong:
            raise ValueError(
                f"{state.point} needs the taps of earlier depths, wrong or missing: {', '.join(wrong)}; expected {shapes}"
            )
        tokens = self.join(state.special_tokens.to(dtype), state.patch_tokens.flatten(2, 3).to(dtype))
        return tokens, {depth: state.taps[depth].to(dtype) for depth in required}
