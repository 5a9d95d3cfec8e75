"""Scene i of seed s depends on (s, i) only."""

from dataclasses import fields

import pytest
import torch

from vist3a_lab.procedural import WorldConfig, describe, make_world, sample_prompts, sample_scenes
from vist3a_lab.procedural.scene import map_tensors
from vist3a_lab.procedural.uniforms import uniform_block

CONFIG = WorldConfig(seed=7, frames=3, extra_views=2, height=24, width=24)


def tensors(record) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    map_tensors(record, lambda tensor: found.append(tensor) or tensor)
    return found


def test_parameters_do_not_depend_on_batch_or_order():
    order = [17, 3, 99, 4, 0, 250]
    together = sample_scenes(7, order)
    for place, index in enumerate(order):
        alone = sample_scenes(7, [index])
        for a, b in zip(tensors(alone), tensors(together[place : place + 1]), strict=True):
            assert torch.equal(a, b)


def test_images_do_not_depend_on_batch_or_order():
    order = [5, 11, 2]
    together = make_world(CONFIG, order)
    for place, index in enumerate(order):
        alone = make_world(CONFIG, [index])
        torch.testing.assert_close(alone.rgb[0], together.rgb[place], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.depth[0], together.depth[place], atol=1e-6, rtol=1e-6)
        assert alone.captions[0] == together.captions[place]


def test_chunks_do_not_change_images():
    from vist3a_lab.procedural import cameras, render

    scenes = sample_scenes(1, [0, 1])
    views = cameras(scenes, 4, 1, 16, 16)
    whole, one = (render(scenes, views, 16, 16, max_rays=rays) for rays in (1 << 20, 1))
    for a, b in zip(whole, one, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_seeds_indices_streams_and_variants_differ():
    blocks = [
        tuple(uniform_block(*key)) for key in ((0, 0, 4, 0), (1, 0, 4, 0), (0, 1, 4, 0), (0, 0, 4, 1), (0, 0, 4, 0, 1))
    ]
    assert len(set(blocks)) == len(blocks)
    scenes = sample_scenes(0, range(40))
    assert len({tuple(row) for row in scenes.path.held_out.flatten(1).tolist()}) == 40


def test_consecutive_scenes_share_no_uniforms():
    a, b = uniform_block(0, 0, 4096, 0), uniform_block(0, 1, 4096, 0)
    assert not set(a.tolist()) & set(b.tolist())


def test_captions_and_prompts_are_reproducible():
    scene = sample_scenes(3, [12]).descriptions()[0]
    assert describe(scene, 4) == describe(sample_scenes(3, [2, 12]).descriptions()[1], 4)
    assert sample_prompts(3, 10)[:4] == sample_prompts(3, 4)


def test_dtype_changes_precision_only():
    single, double = (sample_scenes(0, range(8)), sample_scenes(0, range(8), dtype=torch.float64))
    assert double.dtype == torch.float64
    for field in fields(single.solids):
        a, b = getattr(single.solids, field.name), getattr(double.solids, field.name)
        torch.testing.assert_close(a.double(), b, atol=1e-6, rtol=1e-6)
    assert single.to(dtype=torch.float64).path.azimuth.dtype == torch.float64


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="objects must be"):
        sample_scenes(0, [0], objects=4)
    with pytest.raises(ValueError, match="must not be negative"):
        sample_scenes(0, [-1])
    with pytest.raises(ValueError, match="extra_views"):
        WorldConfig(extra_views=99)
    with pytest.raises(ValueError, match="frames"):
        WorldConfig(frames=0)
