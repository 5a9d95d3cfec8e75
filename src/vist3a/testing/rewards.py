"""Whether a term of the reward keeps the contract of :class:`~vist3a.alignment.rewards.base.Reward`.

from vist3a.testing.rewards import check_reward

check_reward(MyTerm)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, get_args

import torch
from torch import Tensor

from vist3a.alignment.rewards.base import Need, Reward, Views
from vist3a.geometry.projection import unproject_depth
from vist3a.records import Cameras, Gaussians, Reconstruction
from vist3a.testing.comparing import must, refused, same, tensors

HEIGHT, WIDTH = 12, 16
PROMPTS = ("a red ball", "two blue cubes", "a green cone on grass")


def check_reward(
    make: Callable[[], Reward],
    *,
    better: tuple[Views, Views] | None = None,
    views: int = 4,
    dtype: torch.dtype = torch.float64,
    tolerance: float = 1e-6,
    seed: int = 0,
    any_gradient: bool = True,
) -> None:
    """Try everything that the contract says on the term that ``make`` gives.

    Args:
        make: Builds the term, in ``dtype`` where it has weights.
        better: Two samples of which the first deserves the higher score, as higher is better.
        views: Views of a sample.
        dtype: Of what the term is given.
        tolerance: Largest allowed difference, relative to the largest score.
        seed: Draws what the term is given.
        any_gradient: Whether a gradient must reach what the term reads; it is what alignment lives on.

    Raises:
        AssertionError: One sentence: what the term does, and what the contract says.
    """
    term = make()
    name = type(term).__name__
    must(isinstance(term, Reward), f"{name}: a reward has needs and is called with views")
    needs, allowed = term.needs, get_args(Need)
    must(
        isinstance(needs, frozenset) and bool(needs) and needs <= set(allowed),
        f"{name}: needs is {needs!r}; allowed: a frozenset of {', '.join(allowed)}, at least one",
    )
    given = some_views(len(PROMPTS), views, dtype, seed)
    # Kept, to see afterwards whether the term wrote into what it was given.
    kept = tensors(given) | _scene(given)
    before = {key: value.clone() for key, value in kept.items()}
    try:
        scores = term(_only(given, needs))
    except ValueError as error:
        raise AssertionError(f"{name}: of what it needs ({', '.join(sorted(needs))}) it says: {error}") from error
    shape = tuple(scores.shape)
    must(shape == (len(PROMPTS),), f"{name}: scores are {shape}; expected one per sample, {(len(PROMPTS),)}")
    must(bool(scores.isfinite().all()), f"{name}: scores are not finite: {scores.tolist()}")
    same(kept, before, 0.0, f"{name}: what it was given, afterwards")
    _expect(term(_only(given, needs)), scores, tolerance, f"{name}: a second call")
    _expect(term(given), scores, tolerance, f"{name}: given also what it does not need ({', '.join(sorted(needs))})")
    # Gaussians come with the scene, so that alone it cannot be missing.
    for need in needs - ({"scene"} if "gaussians" in needs else set()):
        less = _only(given, needs - {need})
        must(
            refused(lambda less=less: term(less), ValueError),  # type: ignore[misc]
            f"{name}: without {need}, which it needs, nothing was said; expected the ValueError of Views",
        )
    for sample in range(len(PROMPTS)):
        alone = term(_only(_sample(given, sample), needs))
        _expect(alone, scores[sample : sample + 1], tolerance, f"{name}: sample {sample} alone instead of in a batch")
    if any_gradient:
        _check_gradient(term, _only(given, needs), name)
    if better is not None:
        high, low = (float(term(one)[0]) for one in better)
        must(high > low, f"{name}: the better sample has {high:.4g}, the worse {low:.4g}; higher is better")


def some_views(batch: int, views: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Views:
    """Samples with everything that a term can read: frames, renderings that are near them, and a scene before a moving camera."""
    draws = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, generator=draws, dtype=torch.float64).to(dtype)

    decoded = random(batch, views, 3, HEIGHT, WIDTH)
    rendered = (decoded + 0.2 * (random(*decoded.shape) - 0.5)).clamp(0, 1)
    pose = torch.eye(4, dtype=dtype).repeat(batch, views, 1, 1)
    pose[..., :3, 3] = 0.1 * torch.arange(views, dtype=dtype)[:, None] * (1 + random(batch, 1, 3))
    pose[..., :3, 3] += 0.02 * random(batch, views, 3)
    k = torch.tensor([[WIDTH, 0, WIDTH / 2], [0, WIDTH, HEIGHT / 2], [0, 0, 1]], dtype=dtype).expand(batch, views, 3, 3)
    cameras, depth = Cameras(pose, k), 2 + random(batch, views, HEIGHT, WIDTH)
    points = unproject_depth(depth, cameras) + 0.01 * random(batch, views, HEIGHT, WIDTH, 3)
    count = views * HEIGHT * WIDTH
    gaussians = Gaussians(
        means=points.flatten(1, 3),
        scales=0.01 + 0.05 * random(batch, count, 3),
        rotations=torch.nn.functional.normalize(random(batch, count, 4) + 0.1, dim=-1),
        opacities=random(batch, count),
        harmonics=random(batch, count, 4, 3) - 0.5,
    )
    confidence = 1 + random(*depth.shape)
    scene = Reconstruction(cameras, depth, confidence, points, confidence, gaussians=gaussians)
    return Views(decoded, rendered, tuple(PROMPTS[k % len(PROMPTS)] for k in range(batch)), scene)


def _only(views: Views, needs: frozenset[Need]) -> Views:
    scene = views.scene if needs & {"scene", "gaussians"} else None
    return Views(
        views.decoded if "decoded" in needs else None,
        views.rendered if "rendered" in needs else None,
        views.prompts,
        scene if scene is None or "gaussians" in needs else replace(scene, gaussians=None),
    )


def _scene(views: Views) -> dict[str, Tensor]:
    return {} if views.scene is None else {f"scene.{name}": value for name, value in tensors(views.scene).items()}


def _mapped(record: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The record with another tensor in the place of each."""
    changes = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = change(value)
        elif isinstance(value, Reconstruction | Cameras | Gaussians):
            changes[field.name] = _mapped(value, change)
    return replace(record, **changes)


def _sample(views: Views, sample: int) -> Views:
    part: Views = _mapped(views, lambda value: value[sample : sample + 1])
    return replace(part, prompts=views.prompts[sample : sample + 1])


def _expect(found: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    same({"score": found}, {"score": wanted}, tolerance, what)


def _check_gradient(term: Reward, views: Views, name: str) -> None:
    leaves: list[Tensor] = []

    def leaf(value: Tensor) -> Tensor:
        leaves.append(value.clone().requires_grad_(True))
        return leaves[-1]

    # Every tensor becomes a leaf, those of the scene too.
    scores = term(_mapped(views, leaf))
    must(scores.requires_grad, f"{name}: the score has no gradient by what it needs")
    found = [g for g in torch.autograd.grad(scores.sum(), leaves, allow_unused=True) if g is not None]
    must(all(bool(g.isfinite().all()) for g in found), f"{name}: the gradient of the score is not finite everywhere")
    for sample in range(len(views.prompts)):
        largest = max((float(g[sample].abs().max()) for g in found), default=0.0)
        must(largest > 0, f"{name}: the gradient of the score of sample {sample} is 0 by all that it needs")
