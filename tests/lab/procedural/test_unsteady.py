"""Unsteady clips: the static world where nothing happens; every effect against an independent construction of it."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from vist3a_lab.pretraining.scene_bank import BankConfig, SceneBank
from vist3a_lab.procedural import cameras, render, sample_scenes
from vist3a_lab.procedural.filming import SUBSAMPLES, bend, film, poses_at, solids_at
from vist3a_lab.procedural.scene import SceneBatch
from vist3a_lab.procedural.unsteady import Effect, Unsteadiness, UnsteadyConfig, sample_unsteadiness

SEED, FRAMES, SIZE = 40001, 5, 16
NONE = Effect(0.0, 0.0)
EFFECTS = [field.name for field in fields(UnsteadyConfig) if field.name not in ("share", "speed")]
CALM = UnsteadyConfig(speed=(1.0, 1.0), **dict.fromkeys(EFFECTS, NONE))
WILD = replace(UnsteadyConfig(), **{name: Effect(1.0, 0.3) for name in EFFECTS})


def scenes(count: int = 3) -> SceneBatch:
    return sample_scenes(SEED, range(count), dtype=torch.float64)


def drawn(config: UnsteadyConfig, count: int = 3) -> Unsteadiness:
    return sample_unsteadiness(SEED, range(count), FRAMES, config)


def filmed(config: UnsteadyConfig, count: int = 3) -> torch.Tensor:
    return film(scenes(count), drawn(config, count), FRAMES, SIZE, SIZE)


@pytest.mark.parametrize("config", [CALM, replace(WILD, share=0.0)])
def test_where_nothing_happens_it_is_the_static_world(config: UnsteadyConfig) -> None:
    still = scenes()
    expected, _ = render(still, cameras(still, FRAMES, 0, SIZE, SIZE), SIZE, SIZE, supersample=2)
    torch.testing.assert_close(filmed(config), expected, rtol=0, atol=1e-9)


def test_a_clip_depends_on_its_own_number_alone() -> None:
    whole = film(scenes(), drawn(WILD), FRAMES, SIZE, SIZE)
    one = sample_scenes(SEED, [2], dtype=torch.float64)
    alone = film(one, sample_unsteadiness(SEED, [2], FRAMES, WILD), FRAMES, SIZE, SIZE)
    torch.testing.assert_close(alone[0], whole[2], rtol=0, atol=0)


def test_a_clip_that_is_not_bent_keeps_its_bits_beside_one_that_is() -> None:
    """In float32 and at a side that is no power of two, where resampling in place rounds."""
    config = replace(CALM, warp=Effect(0.5, 0.3))
    still = sample_scenes(SEED, range(8))
    clip = drawn(config, 8)
    whole = film(still, clip, FRAMES, 20, 20)
    straight = (clip.warp == 0).flatten(1).all(1)
    assert 0 < int(straight.sum()) < 8
    alone = film(still[straight], clip[straight], FRAMES, 20, 20)
    torch.testing.assert_close(whole[straight], alone, rtol=0, atol=0)


@pytest.mark.parametrize("name", EFFECTS)
def test_every_effect_changes_the_clip_and_only_where_it_is_drawn(name: str) -> None:
    """Half of the clips have it; the other half is the static world to the last bit of rounding."""
    config = replace(CALM, **{name: Effect(0.5, 0.4)})
    clips, still = film(scenes(12), drawn(config, 12), FRAMES, SIZE, SIZE), filmed(CALM, 12)
    changed = (clips - still).abs().amax((1, 2, 3, 4)) > 1e-9
    assert 2 <= int(changed.sum()) <= 10
    torch.testing.assert_close(clips[~changed], still[~changed], rtol=0, atol=1e-9)


def test_shares_and_strengths_are_those_asked_for() -> None:
    clip = drawn(replace(CALM, share=0.5, blur=Effect(0.8, 2.0), speed=(1.5, 2.5)), 2000)
    assert float((clip.blur > 0).double().mean()) == pytest.approx(0.4, abs=0.04)
    assert float(clip.blur[clip.blur > 0].mean()) == pytest.approx(1.0, abs=0.08)
    assert float((clip.speed > 1).double().mean()) == pytest.approx(0.5, abs=0.04)
    assert float(clip.speed[clip.speed > 1].mean()) == pytest.approx(2.0, abs=0.05)


def test_objects_move_turn_and_keep_their_volume() -> None:
    still = scenes().solids
    clip = drawn(replace(CALM, drift=Effect(1.0, 0.8), spin=Effect(1.0, 2.0), morph=Effect(1.0, 0.5)))
    start = solids_at(still, clip, torch.zeros(3, dtype=torch.float64))
    for field in fields(still):
        torch.testing.assert_close(getattr(start, field.name), getattr(still, field.name), rtol=1e-12, atol=1e-12)
    time = torch.full((3,), 0.7, dtype=torch.float64)
    later = solids_at(still, clip, time)
    moved = torch.stack([later.center_x - still.center_x, later.center_y - still.center_y], -1)
    torch.testing.assert_close(moved, 0.7 * clip.drift)
    turned = torch.atan2(later.sin_yaw, later.cos_yaw) - torch.atan2(still.sin_yaw, still.cos_yaw)
    difference = torch.remainder(turned - 0.7 * clip.spin + math.pi, 2 * math.pi) - math.pi
    torch.testing.assert_close(difference, torch.zeros_like(difference), rtol=0, atol=1e-9)
    torch.testing.assert_close(later.radius**2 * later.height, still.radius**2 * still.height)
    assert float((later.height / still.height - 1).abs().max()) > 0.02
    # The surface rho^2(z) of a body of revolution is stretched with it.
    for share in (0.1, 0.5, 0.9):
        old, new = share * still.height, share * later.height
        before = still.constant + (still.linear + still.square * old) * old
        after = later.constant + (later.linear + later.square * new) * new
        torch.testing.assert_close(after, before * (later.radius / still.radius) ** 2, rtol=1e-9, atol=1e-12)


def test_a_cut_jumps_about_the_scene_at_its_time() -> None:
    config = replace(CALM, cut=Effect(1.0, 1.0))
    clip, still = drawn(config), scenes()
    time = torch.linspace(0, 1, 101, dtype=torch.float64).expand(3, 101)
    poses, calm = poses_at(still, clip, time), poses_at(still, drawn(CALM), time)
    before = time < clip.cut_at[:, None]
    torch.testing.assert_close(poses[before], calm[before])
    centers, others = (-(p[..., :3, :3].mT @ p[..., :3, 3:])[..., 0] for p in (poses, calm))
    angle = torch.atan2(centers[..., 1], centers[..., 0]) - torch.atan2(others[..., 1], others[..., 0])
    angle = torch.remainder(angle - clip.jump[:, None] + math.pi, 2 * math.pi) - math.pi
    orbits = (still.path.truck == 0)[:, None] & ~before
    assert bool(orbits.any())
    torch.testing.assert_close(angle[orbits], torch.zeros_like(angle[orbits]), rtol=0, atol=1e-9)


def test_an_open_shutter_is_the_mean_of_moments() -> None:
    """The four samples of a pixel are taken one after the other: each is a frame of another time, seen through its corner."""
    config = replace(CALM, drift=Effect(1.0, 1.0), blur=Effect(1.0, 1.0))
    clip, still = drawn(config), scenes()
    found = film(still, clip, FRAMES, SIZE, SIZE)
    frame = 2
    for row in range(3):
        moments = []
        for k, (right, down) in enumerate(SUBSAMPLES):
            time = frame / (FRAMES - 1) + float(clip.blur[row]) * ((k + 0.5) / 4 - 0.5) / (FRAMES - 1)
            moment = torch.tensor([time], dtype=torch.float64)
            one, own = still[row : row + 1], clip[row : row + 1]
            frozen = replace(one, solids=solids_at(one.solids, own, moment))
            view = cameras(one, 1, 0, SIZE, SIZE)
            view = replace(view, world_to_camera=poses_at(one, own, moment[None]).to(view.world_to_camera.dtype))
            view.intrinsics[..., 0, 2] -= right
            view.intrinsics[..., 1, 2] -= down
            moments.append(render(frozen, view, SIZE, SIZE, supersample=1)[0][0, 0])
        torch.testing.assert_close(found[row, frame], torch.stack(moments).mean(0), rtol=0, atol=1e-9)


def test_a_warp_displaces_by_shares_of_the_width() -> None:
    images = torch.rand(2, 3, 8, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shift = torch.zeros(2, 2, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(bend(images, shift), images)
    # Two columns of sixteen to the right, and three rows down: in shares of the width along both axes.
    shift[:, 0], shift[:, 1] = 2 / 16, 3 / 16
    torch.testing.assert_close(bend(images, shift)[..., :5, :14], images[..., 3:, 2:])


def test_light_flickers_by_the_gain_of_each_frame() -> None:
    config = replace(CALM, exposure=Effect(1.0, 0.2), tint=Effect(1.0, 0.1))
    clip = drawn(config)
    expected = (filmed(CALM) * clip.gain[..., None, None]).clamp(0, 1)
    torch.testing.assert_close(filmed(config), expected, rtol=0, atol=1e-9)
    many = drawn(replace(CALM, exposure=Effect(1.0, 0.2)), 500).gain.log()
    # A strength uniform up to 0.2, times standard normal numbers; all channels alike.
    assert float(many.square().mean().sqrt()) == pytest.approx(0.2 / math.sqrt(3), rel=0.1)
    torch.testing.assert_close(many[..., 0], many[..., 2])


def test_a_faster_camera_walks_further_along_the_same_path() -> None:
    still, calm = scenes(), drawn(CALM)
    fast = replace(calm, speed=2 * calm.speed)
    half = torch.linspace(0, 0.5, 4, dtype=torch.float64).expand(3, 4)
    short = still.path.radius < 3
    assert bool(short.any())
    torch.testing.assert_close(poses_at(still, fast, half)[short], poses_at(still, calm, 2 * half)[short])


def test_a_bank_holds_unsteady_clips_without_a_geometry() -> None:
    bank = SceneBank(BankConfig(capacity=2, frames=FRAMES, height=SIZE, width=SIZE, unsteady=WILD), SEED, "cpu")
    clips = film(sample_scenes(SEED, range(2)), sample_unsteadiness(SEED, range(2), FRAMES, WILD), FRAMES, SIZE, SIZE)
    torch.testing.assert_close(bank.rgb, (clips * 255).round().to(torch.uint8))
    for wrong in ({"with_depth": True}, {"extra_views": 2}):
        with pytest.raises(ValueError, match="unsteady clips have no depth"):
            BankConfig(capacity=2, unsteady=WILD, **wrong)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Effect(1.5, 0.1), r"share must lie in 0\.\.1"),
        (lambda: Effect(0.5, -0.1), "most must not be negative"),
        (lambda: Effect(0.5, math.nan), "most must not be negative"),
        (lambda: UnsteadyConfig(speed=(2.0, 1.0)), "speed must be a range"),
        (lambda: UnsteadyConfig(share=-0.1), r"share must lie in 0\.\.1"),
    ],
)
def test_what_cannot_be_is_refused(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
