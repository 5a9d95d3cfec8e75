"""The CPU renderer against the dense reference, and its own promises."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from rendering_scenes import SIZE, cameras_from_motion, gradients, random_cameras, random_gaussians

from vist3a.geometry.quaternion import quaternion_from_rotation, rotation_from_quaternion
from vist3a.records import Cameras, Gaussians, Rendering
from vist3a.rendering import renderer_for
from vist3a.rendering.cpu import CpuRenderer
from vist3a.rendering.reference import ReferenceRenderer

OUTPUTS = ("rgb", "depth", "alpha")


def small_motion(seed: int, batch: int = 2, views: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.15 * torch.randn(batch, views, 6, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("bands", "size"), [(1, (37, 45)), (4, (16, 16)), (9, (5, 50)), (25, (33, 1))])
def test_values_and_gradients_equal_the_reference_in_float64(seed: int, bands: int, size: tuple[int, int]) -> None:
    gaussians, motion = random_gaussians(seed, bands=bands), small_motion(seed)
    background = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64) if seed % 2 else None
    fast, fast_gradients = gradients(CpuRenderer(), gaussians, motion, size, background)
    slow, slow_gradients = gradients(ReferenceRenderer(), gaussians, motion, size, background)
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name), rtol=1e-9, atol=1e-11)
    for name, expected in slow_gradients.items():
        scale = expected.abs().max().item()
        torch.testing.assert_close(fast_gradients[name], expected, rtol=1e-8, atol=1e-10 * scale, msg=name)


@pytest.mark.parametrize("rows", [1, 8, 100])
def test_the_reference_in_bands_of_rows_is_the_reference(rows: int) -> None:
    gaussians, motion = random_gaussians(3), small_motion(3)
    banded, banded_gradients = gradients(ReferenceRenderer(rows), gaussians, motion)
    whole, whole_gradients = gradients(ReferenceRenderer(), gaussians, motion)
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(banded, name), getattr(whole, name), rtol=1e-12, atol=1e-13)
    for name, expected in whole_gradients.items():
        torch.testing.assert_close(banded_gradients[name], expected, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_float32_stays_close_to_the_float64_reference(seed: int) -> None:
    gaussians, motion = random_gaussians(seed), small_motion(seed)
    fast, fast_gradients = gradients(CpuRenderer(), gaussians.to(dtype=torch.float32), motion.float())
    slow, slow_gradients = gradients(ReferenceRenderer(), gaussians, motion)
    assert fast.rgb.dtype == torch.float32
    # Pixels on the border of the alpha threshold may fall on either side of it: compare norms, not every element.
    for name in OUTPUTS:
        assert (getattr(fast, name) - getattr(slow, name)).norm() < 1e-3 * getattr(slow, name).norm()
    for name, expected in slow_gradients.items():
        assert (fast_gradients[name] - expected).norm() < 1e-3 * expected.norm(), name


def test_each_scene_and_view_is_rendered_as_if_alone() -> None:
    gaussians, cameras = random_gaussians(5, batch=3), random_cameras(5, batch=3, views=4)
    together = CpuRenderer()(gaussians, cameras, SIZE)
    assert together.rgb.shape == (3, 4, 3, *SIZE) and together.depth.shape == together.alpha.shape == (3, 4, *SIZE)
    for b in range(3):
        for v in range(4):
            alone = CpuRenderer()(gaussians[b : b + 1], cameras[b : b + 1, v : v + 1], SIZE)
            for name in OUTPUTS:
                assert torch.equal(getattr(together, name)[b, v], getattr(alone, name)[0, 0])


def test_moving_the_world_frame_changes_nothing() -> None:
    gaussians, cameras = random_gaussians(6, batch=1, bands=1), random_cameras(6, batch=1)
    moved = cameras_from_motion(torch.tensor([0.3, -0.8, 0.4, 1.0, -2.0, 3.0], dtype=torch.float64)).world_to_camera
    rotation = moved[:3, :3]
    turned = quaternion_from_rotation(rotation @ rotation_from_quaternion(gaussians.rotations))
    means = gaussians.means @ rotation.T + moved[:3, 3]
    other = Gaussians(means, gaussians.scales, turned, gaussians.opacities, gaussians.harmonics)
    pose = cameras.world_to_camera @ Cameras(moved, torch.eye(3, dtype=torch.float64)).camera_to_world
    here, there = CpuRenderer()(gaussians, cameras, SIZE), CpuRenderer()(other, Cameras(pose, cameras.intrinsics), SIZE)
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(here, name), getattr(there, name), rtol=1e-9, atol=1e-9)


def test_gradcheck_on_a_tiny_scene() -> None:
    # Few, soft, large Gaussians, so that no pixel crosses the alpha threshold within the finite differences.
    scene = random_gaussians(7, batch=1, count=3, bands=4)
    means = torch.tensor([[[0.1, 0.0, 2.0], [-0.2, 0.1, 2.5], [0.0, -0.2, 3.0]]], dtype=torch.float64)
    scales, opacities = 0.8 + 0.2 * scene.scales, torch.tensor([[0.5, 0.7, 0.6]], dtype=torch.float64)
    motion = torch.zeros(1, 1, 6, dtype=torch.float64)
    inputs = tuple(
        t.clone().requires_grad_() for t in (means, scales, scene.rotations, opacities, scene.harmonics, motion)
    )

    def render(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rendering = CpuRenderer()(Gaussians(*tensors[:5]), cameras_from_motion(tensors[5], (5, 6)), (5, 6))
        return rendering.rgb, rendering.depth, rendering.alpha

    assert torch.autograd.gradcheck(render, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_same_bits_for_any_number_of_threads() -> None:
    gaussians, motion, size = random_gaussians(8, count=400), small_motion(8), (70, 90)
    before = torch.get_num_threads()
    results: list[tuple[Rendering, dict[str, torch.Tensor]]] = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(gradients(CpuRenderer(), gaussians, motion, size))
    finally:
        torch.set_num_threads(before)
    for rendering, grads in results[1:]:
        for name in OUTPUTS:
            assert torch.equal(getattr(rendering, name), getattr(results[0][0], name))
        for name, expected in results[0][1].items():
            assert torch.equal(grads[name], expected), name


@pytest.mark.parametrize("renderer", [CpuRenderer(), ReferenceRenderer()])
@pytest.mark.parametrize("count", [0, 5])
def test_an_empty_image_is_the_background(renderer: CpuRenderer, count: int) -> None:
    gaussians = random_gaussians(9, count=5)
    behind = Gaussians(
        gaussians.means - torch.tensor([0.0, 0.0, 50.0], dtype=torch.float64),
        gaussians.scales, gaussians.rotations, gaussians.opacities, gaussians.harmonics,
    ).select(0, torch.arange(count))  # fmt: skip
    rendering, grads = gradients(renderer, behind, small_motion(9, 1, 1))
    assert torch.equal(rendering.rgb, torch.ones_like(rendering.rgb))
    assert not rendering.depth.any() and not rendering.alpha.any()
    assert all(not g.any() for g in grads.values() if g is not None)


@pytest.mark.parametrize("renderer", [CpuRenderer(), ReferenceRenderer()])
def test_padding_and_flat_gaussians_have_finite_gradients(renderer: CpuRenderer) -> None:
    scene = random_gaussians(10, batch=1)
    values = {f.name: getattr(scene, f.name).clone() for f in fields(scene)}
    values["scales"][:, 20:40] = 0.0
    values["scales"][:, 40:60, 2] = 0.0
    plain = Gaussians(**values)
    padded = Gaussians(**{k: torch.cat([v, torch.zeros_like(v[:, :15])], 1) for k, v in values.items()})
    rendering, grads = gradients(renderer, padded, small_motion(10, 1, 2))
    without, _ = gradients(renderer, plain, small_motion(10, 1, 2))
    assert all(torch.isfinite(g).all() for g in grads.values())
    assert torch.equal(rendering.rgb, without.rgb)
    assert not grads["means"][:, -15:].any()


def test_one_opaque_gaussian_in_closed_form() -> None:
    """A ball on the optical axis: alpha at its centre is the cap, depth its z, colour its own."""
    one = torch.ones(1, 1, dtype=torch.float64)
    color = torch.tensor([0.9, 0.4, 0.2], dtype=torch.float64)
    harmonics = ((color - 0.5) / 0.28209479177387814)[None, None, None]
    quaternion = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    mean = torch.tensor([[[0.0, 0.0, 4.0]]], dtype=torch.float64)
    ball = Gaussians(mean, 0.2 * one[..., None].expand(1, 1, 3), quaternion, one, harmonics)
    k = torch.tensor([[40.0, 0.0, 10.5], [0.0, 40.0, 10.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    cameras = Cameras(torch.eye(4, dtype=torch.float64)[None, None], k[None, None])
    rendering = CpuRenderer()(ball, cameras, (21, 21), background=torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(rendering.rgb[0, 0, :, 10, 10], 0.999 * color)
    assert rendering.depth[0, 0, 10, 10].item() == pytest.approx(4.0)
    # Two pixels off the centre: variance (0.2 * 40 / 4)^2 + 0.3.
    assert rendering.alpha[0, 0, 10, 12].item() == pytest.approx(torch.exp(torch.tensor(-2.0 / 4.3)).item(), rel=1e-6)


def test_half_precision_is_computed_in_float32() -> None:
    gaussians, cameras = random_gaussians(11).to(dtype=torch.bfloat16), random_cameras(11).to(dtype=torch.bfloat16)
    rendering = CpuRenderer()(gaussians, cameras, SIZE)
    exact = CpuRenderer()(gaussians.to(dtype=torch.float32), cameras.to(dtype=torch.float32), SIZE)
    assert rendering.rgb.dtype == torch.bfloat16
    torch.testing.assert_close(rendering.rgb.float(), exact.rgb, rtol=0.02, atol=0.02)


def test_inputs_that_do_not_belong_together_are_refused() -> None:
    gaussians, cameras = random_gaussians(12, batch=2), random_cameras(12, batch=2)
    with pytest.raises(ValueError, match="2 Gaussian sets cannot be seen by 1"):
        CpuRenderer()(gaussians, cameras[:1], SIZE)
    with pytest.raises(ValueError, match="batch axes"):
        CpuRenderer()(gaussians, cameras[0], SIZE)
    with pytest.raises(ValueError, match="positive"):
        CpuRenderer()(gaussians, cameras, (0, 4))


def test_renderer_for_picks_by_device() -> None:
    assert isinstance(renderer_for(torch.device("cpu")), CpuRenderer)
    with pytest.raises(ValueError, match="cuda or cpu"):
        renderer_for(torch.device("meta"))
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="needs a CUDA device"):
            renderer_for(torch.device("cuda"))
