"""The rehearsal: random weights pass through the real loaders, every stage runs, too little memory is a result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ltx_video import PLACE as LTX
from reconstruction_cases import GAUSSIAN_HEAD, TRUNK

from vist3a import pairing as networks
from vist3a.distillation.distill_loss import DistillWeights
from vist3a.generators.published import Part
from vist3a.generators.wan import PUBLISHED, WanGenerator
from vist3a.networks.anysplat import AnySplat, AnySplatConfig
from vist3a.sampling.sampling import SamplingConfig
from vist3a.stitching.extract import TapConfig
from vist3a_app.rehearsal import STAGES, Pairing, Rehearsal, Shapes, as_table, rehearse, weights
from vist3a_app.rehearsal.measuring import measure
from vist3a_app.rehearsal.random_weights import build, parameter_counts

CPU = torch.device("cpu")
WAN = {
    "vae": Part("diffusers", "AutoencoderKLWan", {"base_dim": 4, "num_res_blocks": 1}),
    "text_encoder": Part(
        "transformers",
        "UMT5EncoderModel",
        {"vocab_size": 16, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
    ),
    "transformer": Part(
        "diffusers",
        "WanTransformer3DModel",
        {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 16, "num_layers": 1, "text_dim": 16},
    ),
    "scheduler": PUBLISHED["wan-1.3b"]["scheduler"],
}
SHAPES = Shapes(
    sampling=SamplingConfig(steps=2, guidance=3.0, frames=5, height=32, width=32, flow_shift=5.0),
    tap=TapConfig(kernel=(3, 3, 3)),
    kinds=("encoder",),
    distill_weights=DistillWeights(depth=1.0),
    lora_targets=("to_q", "to_v"),
)
PAIRING = Pairing(
    "wan", "tiny", "anysplat", "tiny", generator_dtype="float32", stored="float16", scene=(16, 16), max_text_tokens=8
)


@pytest.fixture(autouse=True)
def tiny_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """``tiny`` is the name of a published pairing."""
    monkeypatch.setattr(WanGenerator, "published", {"tiny": WAN})
    monkeypatch.setattr(AnySplat, "published", {"tiny": AnySplatConfig(**TRUNK | GAUSSIAN_HEAD)})


def run(tmp_path: Path, stages: tuple[str, ...] = STAGES, **changes: Any) -> tuple[Rehearsal, list[str]]:
    lines: list[str] = []
    found = rehearse(replace(PAIRING, **changes), SHAPES, tmp_path / "work", CPU, stages, lines.append)
    assert not (tmp_path / "work").exists()
    return found, lines


def test_every_stage_runs_on_random_weights(tmp_path: Path) -> None:
    found, lines = run(tmp_path)
    assert list(found.stages) == ["write generator", "write 3D network", *STAGES]
    assert found.fits
    assert len(lines) == len(found.stages)
    assert all(stage.seconds > 0 and stage.host_gib > 0.05 for stage in found.stages.values())
    assert found.stages["embed"].note == "2 texts"
    assert "1 of them with gradient" in found.stages["align"].note
    assert "Gaussians" in found.stages["generate"].note
    # Two bytes a parameter of the generator, four of the 3D network.
    network = networks.build_reconstruction("anysplat", AnySplatConfig(**TRUNK | GAUSSIAN_HEAD), torch.device("meta"))
    own = sum(p.numel() for p in network.parameters())
    assert found.download_bytes == 2 * sum(parameter_counts(WAN).values()) + 4 * own
    table = as_table(found)
    assert "fits on CPU" in table
    assert all(name in table for name in STAGES)


def test_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    weights.write_generator("wan", "tiny", tmp_path / "generator", torch.float32, CPU)
    weights.write_reconstruction("anysplat", "tiny", tmp_path / "network", CPU)
    names = {"generator": str(tmp_path / "generator"), "reconstruction": str(tmp_path / "network")}
    found, _ = run(tmp_path, ("extract", "score"), **names)
    assert list(found.stages) == ["extract", "score"]
    assert found.download_bytes == 0
    assert (tmp_path / "generator" / "vae").is_dir()


def test_a_stage_without_its_input_is_not_tried(tmp_path: Path) -> None:
    found, _ = run(tmp_path, ("extract", "generate"))
    assert found.stages["extract"].done
    assert found.stages["generate"].note == "not tried: it needs embed, score"
    assert not found.fits
    assert "generate does not fit on CPU, use generate.offload=parts" in as_table(found)


def test_too_little_memory_is_a_result_and_other_errors_are_errors() -> None:
    def exhausted() -> str:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB. And more")

    found = measure(exhausted, CPU)
    assert (found.done, found.note) == (False, "out of device memory: CUDA out of memory")
    with pytest.raises(ZeroDivisionError):
        measure(lambda: str(1 / 0), CPU)


def test_peaks_of_host_memory_are_those_of_the_work() -> None:
    def large() -> str:
        return str(float(torch.ones(64 * 2**20).sum()))  # a quarter of a GiB

    small = measure(lambda: "", CPU)
    assert measure(large, CPU).host_gib > small.host_gib + 0.2
    assert measure(lambda: "", CPU).host_gib < small.host_gib + 0.2


@pytest.mark.parametrize(
    ("family", "name", "billions"),
    [
        ("wan", "wan-14b", 14.3),
        ("cogvideox", "cogvideox-5b", 5.6),
        ("hunyuan_video", "hunyuan-video", 12.8),
        ("svd", "svd-xt", 1.5),
        (LTX, "Lightricks/LTX-Video", 1.9),
    ],
)
def test_published_sizes_can_be_counted(
    family: str, name: str, billions: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each family says its own, one of another package too, which nothing here names."""
    monkeypatch.undo()
    assert {"wan-1.3b", "wan-14b"} == networks.published_generators("wan").keys()
    counts = parameter_counts(networks.published_generators(family)[name])
    assert round(counts.get("transformer", counts.get("unet", 0)) / 1e9, 1) == billions


def test_a_generator_of_another_package_is_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its place alone; its class says what to build."""
    from ltx_video_example import LTXVideoGenerator

    text = {"vocab_size": 16, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    published = LTXVideoGenerator.published["Lightricks/LTX-Video"]
    tiny = {
        "vae": Part(
            "diffusers",
            "AutoencoderKLLTXVideo",
            {
                "latent_channels": 4,
                "block_out_channels": (8, 8, 8, 8),
                "decoder_block_out_channels": (8, 8, 8, 8),
                "layers_per_block": (1, 1, 1, 1, 1),
                "decoder_layers_per_block": (1, 1, 1, 1, 1),
            },
        ),
        "text_encoder": Part("transformers", "T5EncoderModel", text),
        "transformer": Part(
            "diffusers",
            "LTXVideoTransformer3DModel",
            {
                "in_channels": 4,
                "out_channels": 4,
                "num_attention_heads": 2,
                "attention_head_dim": 12,
                "cross_attention_dim": 24,
                "num_layers": 1,
                "caption_channels": 16,
            },
        ),
        "scheduler": published["scheduler"],
    }
    assert tiny.keys() == published.keys()
    assert all((part.library, part.network) == (published[n].library, published[n].network) for n, part in tiny.items())
    monkeypatch.setattr(LTXVideoGenerator, "published", {"tiny": tiny})
    pairing = replace(PAIRING, generator_family=LTX, max_text_tokens=8)
    sampling = replace(SHAPES.sampling, frames=9, height=64, width=64, flow_shift=None)
    shapes = replace(SHAPES, sampling=sampling)
    lines: list[str] = []
    found = rehearse(pairing, shapes, tmp_path / "work", CPU, STAGES, lines.append)
    assert found.fits and list(found.stages) == ["write generator", "write 3D network", *STAGES], lines
    assert found.download_bytes > 2 * sum(parameter_counts(tiny).values())


def test_random_weights_depend_on_the_seed_and_have_the_types_of_loading() -> None:
    first, again, other = (build(WAN["transformer"], torch.bfloat16, CPU, seed) for seed in (0, 0, 1))
    for (name, a), (_, b), (_, c) in zip(*(n.named_parameters() for n in (first, again, other)), strict=True):
        assert torch.equal(a, b), name
        assert a.dtype == (torch.float32 if any(k in name for k in first._keep_in_fp32_modules) else torch.bfloat16)
        if a.ndim > 1 and "scale" not in name:
            assert not torch.equal(a, c), name


def test_unknown_names_are_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rehearse\.stages: dance; allowed: embed, extract"):
        run(tmp_path, ("dance",))
    with pytest.raises(ValueError, match="rehearsal of generator 'sora' of the family wan; allowed: tiny, a folder"):
        run(tmp_path, generator="sora")
    with pytest.raises(
        ValueError, match="rehearsal of 3D network 'dust' of the family anysplat; allowed: tiny, a folder"
    ):
        run(tmp_path, reconstruction="dust")


def test_a_family_that_states_no_sizes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WanGenerator, "published", {})
    with pytest.raises(ValueError, match=r"allowed: a folder \(its class states no published sizes\)"):
        run(tmp_path)
