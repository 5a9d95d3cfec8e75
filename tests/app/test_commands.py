"""The commands that people type, without the runs behind them: what they say, and what they refuse in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from gaussian_cases import some_gaussians

from vist3a.export.ply import load_gaussians, save_gaussians
from vist3a.export.spz import load_spz
from vist3a_app.cli import program
from vist3a_app.commands.runs import layer_table

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "data"))
from clip_makers import save_moving  # noqa: E402


def vist3a(*words: str | Path) -> Result:
    return CliRunner().invoke(program, [str(word) for word in words])


def test_gaussians_are_exported_in_other_formats(tmp_path: Path) -> None:
    made = some_gaussians(4, 50)
    save_gaussians(tmp_path / "gaussians.ply", made)
    done = vist3a("export", tmp_path, "--to", "spz")
    assert (done.exit_code, done.output) == (0, f"{tmp_path / 'gaussians.spz'}: 50 Gaussians\n")
    assert load_spz(tmp_path / "gaussians.spz").means.shape == (1, 50, 3)
    done = vist3a(
        "export", tmp_path / "gaussians.ply", "--to", "ply", "--out", tmp_path / "few.ply", "--max-gaussians", "7"
    )
    assert done.exit_code == 0, done.output
    few = load_gaussians(tmp_path / "few.ply").means[0]
    assert len(few) == 7
    assert all(bool((made.means[0] == point).all(1).any()) for point in few.to(made.means))


def test_gaussians_are_exported_for_other_programs(tmp_path: Path) -> None:
    made = some_gaussians(4, 50)
    save_gaussians(tmp_path / "gaussians.ply", made)
    out = tmp_path / "unreal.ply"
    done = vist3a("export", tmp_path, "--to", "ply", "--out", out, "--target", "unreal", "--scale", "0.5")
    assert done.exit_code == 0, done.output
    x, y, z = (50 * made.means[0]).unbind(1)
    torch.testing.assert_close(load_gaussians(out).means[0], torch.stack([z, x, -y], 1))
    # Of a format with axes of its own only the unit changes.
    done = vist3a("export", tmp_path, "--to", "spz", "--target", "unreal", "--scale", "0.5")
    torch.testing.assert_close(load_spz(tmp_path / "gaussians.spz").means[0], 0.5 * made.means[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("export", ".", "--to", "spz"),
            "holds no gaussians.ply; allowed: a folder of a scene with Gaussians, or a PLY file",
        ),
        (("export", "x.ply", "--to", "ply"), "is what is read; allowed: another file"),
        (("export", "x.ply", "--to", "obj"), "--to: 'obj'; allowed: ply, spz, glb"),
        (("export", "x.ply", "--to", "spz", "--out", "empty"), "--out: empty is a folder; allowed: a file"),
        (("export", "x.ply", "--to", "shutil:copy"), "x.ply holds Gaussians alone; allowed: the folder of a scene"),
        (("export", "empty", "--to", "shutil:copy"), "empty holds no transforms.json, no depth.npz, no prompt.json"),
        (("export", "x.ply", "--to", "mesh"), "x.ply holds Gaussians alone; allowed: the folder of a scene"),
        (("export", "x.ply", "--to", "spz", "--scale", "big"), "scale: 'big'; allowed: meters of a unit, as 0.8"),
        (("export", "x.ply", "--to", "spz", "--level"), "level: there are Gaussians alone"),
        (
            ("export", "x.ply", "--to", "spz", "--filter"),
            "--filter, --refine: x.ply holds Gaussians alone; allowed: the folder",
        ),
        (("view", "nowhere"), "nowhere is no scene: neither it nor"),
        (("layers",), "is no project (it has no pyproject.toml with [tool.kedro]); run this in a checkout of vist3a"),
        (("reconstruct", "empty"), "found no video and no image"),
    ],
)
def test_what_a_user_did_wrong_is_one_sentence(
    words: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_gaussians(tmp_path / "x.ply", some_gaussians(4, 3))
    (tmp_path / "empty").mkdir()
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    monkeypatch.chdir(tmp_path)
    done = vist3a(*words)
    assert done.exit_code == 1 and sentence in done.output, done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_folder_of_a_video_becomes_3d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the embedded network; the scene is complete, and every view of it was seen."""
    (tmp_path / "clips").mkdir()
    save_moving(tmp_path / "clips" / "room.mp4", 3)
    monkeypatch.chdir(REPOSITORY)
    done = vist3a("reconstruct", tmp_path / "clips", "--out", tmp_path / "scenes", "--views", "5", "--device", "cpu")
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "scenes").iterdir()
    assert done.output.splitlines()[-1].endswith(str(folder))
    assert (folder / "viewer.html").is_file() and (folder / "transforms.json").is_file()
    assert len(list((folder / "images").iterdir())) == 5
    assert bool(torch.isfinite(load_gaussians(folder / "gaussians.ply").means).all())


def test_the_doctor_says_what_there_is_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = vist3a("doctor")
    lines = done.output.splitlines()
    assert any(line.startswith("ok       torch ") for line in lines)
    assert any(
        line.startswith("missing  the embedded networks in data/06_models/embedded: dvc pull pretrain")
        for line in lines
    )
    assert done.exit_code == 1
    assert "vggt-1b" in vist3a("doctor", "--pair", "embedded+vggt").output
    named = vist3a("doctor", "--pair", "wan+vggt").output
    assert "vggt-1b: facebook/VGGT-1B, licence" in named and "wan-1.3b: Wan-AI/" in named


def test_the_table_of_layers_has_the_best_first() -> None:
    point = {"r2_heldout": 0.5, "r2_low": 0.4, "r2_high": 0.6, "cka": 0.7, "complete": True}
    points = {"encoder.00": point, "frame.01": point | {"r2_heldout": 0.9, "complete": False}}
    table = layer_table({"points": points, "ranking": ["frame.01", "encoder.00"], "chosen": "encoder.00"}).splitlines()
    assert table[1].startswith("frame.01") and "no entry alone" in table[1]
    assert table[2].startswith("encoder.00") and table[2].endswith("<- chosen") and "0.400 to 0.600" in table[2]
