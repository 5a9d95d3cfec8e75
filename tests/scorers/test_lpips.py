"""LPIPS through the published files with random weights, against the formula written out in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from vist3a.scorers.lpips import STAGES, Lpips


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """VGG-16 in torchvision's naming with a classifier, and channel weights in torch's old format."""
    folder = tmp_path_factory.mktemp("lpips")
    generator = torch.Generator().manual_seed(0)
    vgg: dict[str, Tensor] = {"classifier.0.weight": torch.zeros(1)}
    index, previous = 0, 3
    for widths in STAGES:
        for width in widths:
            scale = (2 / (9 * previous)) ** 0.5
            vgg[f"features.{index}.weight"] = torch.randn(width, previous, 3, 3, generator=generator) * scale
            vgg[f"features.{index}.bias"] = torch.randn(width, generator=generator) * 0.1
            index, previous = index + 2, width
        index += 1
    linear = {
        f"lin{i}.model.1.weight": torch.rand(1, widths[-1], 1, 1, generator=generator)
        for i, widths in enumerate(STAGES)
    }
    save_file(vgg, folder / "vgg.safetensors")
    torch.save(linear, folder / "linear.pth", _use_new_zipfile_serialization=False)
    return folder / "vgg.safetensors", folder / "linear.pth"


def written_out(files: tuple[Path, Path], first: Tensor, second: Tensor) -> Tensor:
    from safetensors.torch import load_file

    vgg, linear = load_file(files[0]), torch.load(files[1], weights_only=True)

    def maps(x: Tensor) -> list[Tensor]:
        x = (2 * x - 1 - torch.tensor([-0.030, -0.088, -0.188], dtype=x.dtype)[:, None, None]) / torch.tensor(
            [0.458, 0.448, 0.450], dtype=x.dtype
        )[:, None, None]
        found, index = [], 0
        for i, widths in enumerate(STAGES):
            x = x if i == 0 else functional.max_pool2d(x, 2)
            for _ in widths:
                weight, bias = vgg[f"features.{index}.weight"], vgg[f"features.{index}.bias"]
                x = functional.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), padding=1).relu()
                index += 2
            index += 1
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    return sum(  # type: ignore[return-value]
        functional.conv2d((a - b) ** 2, linear[f"lin{i}.model.1.weight"].to(a.dtype)).mean((1, 2, 3))
        for i, (a, b) in enumerate(zip(maps(first), maps(second), strict=True))
    )


def test_the_distance_is_the_formula(files: tuple[Path, Path]) -> None:
    model = Lpips.from_files(*files).double()
    first, second = torch.rand(2, 2, 3, 36, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(first, second), written_out(files, first, second), rtol=1e-9, atol=1e-12)
    assert float(model(first, first).abs().max()) == 0
    assert not any(p.requires_grad for p in model.parameters())


def test_the_authors_package_says_the_same(files: tuple[Path, Path]) -> None:
    """Needs the extra ``rewards``, whose torchvision fits one version of torch alone: elsewhere this is skipped."""
    package = pytest.importorskip("lpips")
    from safetensors.torch import load_file

    theirs = package.LPIPS(net="vgg", pnet_rand=True, model_path=str(files[1]), verbose=False)
    vgg = load_file(files[0])
    # Theirs splits the layers into slices and keeps their numbers.
    theirs.net.load_state_dict({key: vgg[f"features.{key.partition('.')[2]}"] for key in theirs.net.state_dict()})
    first, second = torch.rand(2, 2, 3, 64, 48, generator=torch.Generator().manual_seed(4))
    second.requires_grad_(True)
    ours = Lpips.from_files(*files)
    distances = ours(first, second), theirs(first, second, normalize=True).flatten()
    torch.testing.assert_close(*distances, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(distance.sum(), second)[0] for distance in distances]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-8)


def test_a_place_without_any_feature_has_a_finite_gradient(files: tuple[Path, Path]) -> None:
    model = Lpips.from_files(*files)
    first, flat = torch.rand(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    model.features[0].bias.fill_(-10)
    model.features[2].bias.fill_(-1e-3)
    assert float(model.maps(flat)[0].detach().abs().max()) == 0
    (gradient,) = torch.autograd.grad(model(first, flat).sum(), flat)
    assert bool(gradient.isfinite().all())


def test_its_gradient_is_finite_and_right(files: tuple[Path, Path]) -> None:
    model = Lpips.from_files(*files).double()
    first = torch.rand(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    moved = (first + 0.05 * torch.randn(first.shape, dtype=torch.float64)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: model(first, x), moved, fast_mode=True)
    flat = torch.zeros(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(first, flat).sum(), flat)
    assert bool(gradient.isfinite().all())


def test_wrong_files_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "linear.pth").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"linear.pth cannot be read .*; allowed: the lpips package's own file"):
        Lpips.from_files(files[0], tmp_path / "linear.pth")
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match=r"vgg.safetensors with .*linear.pth does not fit Lpips: 25 missing"):
        Lpips.from_files(tmp_path / "vgg.safetensors", files[1])
