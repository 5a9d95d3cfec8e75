import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError

from vist3a.data.clip_store import COLUMNS, ClipStore
from vist3a_app.datasets.image import PngImage
from vist3a_app.datasets.parquet_table import ParquetTable
from vist3a_app.pipelines.curate import nodes
from vist3a_app.pipelines.curate.params import CurateParams
from vist3a_app.pipelines.workers import Workers
from vist3a_lab.procedural import WorldConfig, make_world

REPOSITORY = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(REPOSITORY / "tests" / "data"))

from clip_makers import moving, save_moving  # noqa: E402

from vist3a.export.video import save_image, save_video  # noqa: E402

HERE = Workers()


def settings(**changes):
    values = yaml.safe_load((REPOSITORY / "conf/base/parameters/curate.yml").read_text())["curate"]
    values |= {"frames": 13, "height": 64, "width": 64}
    return CurateParams.model_validate({**values, "seed": 1, **changes})


def run(folder, params, family="wan", workers=HERE):
    fill, index, quarantine = nodes.gather_clips(params, family, workers, folder.parent / "checkpoints")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fill(folder)
    return index, quarantine, nodes.report_clips(params, index, quarantine)


@pytest.fixture
def mixed(tmp_path):
    source = tmp_path / "source"
    for seed in range(4):
        save_moving(source / f"good{seed}.mp4", seed)
    shutil.copy(source / "good0.mp4", source / "same.mp4")
    (source / "good1.txt").write_text("a picture")
    (source / "text.mp4").write_text("no video")
    content = (source / "good2.mp4").read_bytes()
    (source / "truncated.mp4").write_bytes(content[: len(content) // 2])
    save_video(source / "single.mp4", moving(1, views=1))
    save_video(source / "black.mp4", torch.zeros(13, 3, 96, 96))
    return source


def test_bad_items_cost_only_themselves(tmp_path, mixed):
    index, quarantine, report = run(tmp_path / "clips", settings(source=str(mixed)))
    assert tuple(index.columns) == COLUMNS
    assert list(index["name"]) == ["good0", "good1", "good2", "good3"]
    assert list(quarantine["source"]) == ["black.mp4", "same.mp4", "single.mp4", "text.mp4", "truncated.mp4"]
    assert report["splits"] == {"fit": 2, "selection": 1, "heldout": 1}
    assert (report["quarantined"], report["captioned"]) == (5, 1)
    for reason, words in zip(report["reasons"], ["too dark", "good0", "1 frame", "decoded", "decoded"], strict=True):
        assert words in reason
        assert str(tmp_path) not in reason and "\n" not in reason
    store = ClipStore(tmp_path / "clips", index)
    assert sum(len(store.load_split(split)) for split in ("fit", "selection", "heldout")) == 4
    assert nodes.draw_clips(tmp_path / "clips", index).shape[0] == 3


def test_the_same_run_gives_the_same_bytes(tmp_path, mixed):
    first, second = (run(tmp_path / name, settings(source=str(mixed))) for name in "ab")
    assert first[0].equals(second[0]) and first[1].equals(second[1]) and first[2] == second[2]


@pytest.mark.parametrize("world", [False, True])
def test_workers_leave_the_bytes_of_one_process(tmp_path, mixed, world):
    chosen = settings(procedural={"scenes": 9, "seed": 3}) if world else settings(source=str(mixed))
    alone = run(tmp_path / "alone", chosen)
    shared = run(tmp_path / "shared", chosen, workers=Workers(kind="processes", count=2))
    assert shared[0].equals(alone[0]) and shared[1].equals(alone[1]) and shared[2] == alone[2]
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("alone", "shared")]
    assert files[0] == files[1] and len(files[0]) == (9 if world else 4)


def test_what_a_killed_run_has_kept_is_taken_up_where_it_is_whole(tmp_path, mixed):
    # A file that nothing reads, with the name of a clip.
    (mixed / "good2.raw9").write_bytes(bytes(range(256)))
    params, checkpoints = settings(source=str(mixed)), tmp_path / "checkpoints"
    whole = run(tmp_path / "whole", params)
    # As killed after the last clip, before Kedro saves.
    nodes.gather_clips(params, "wan", HERE, checkpoints)
    kept = {path.stem: path for path in checkpoints.rglob("*.safetensors")}
    assert kept.keys() >= {"good1", "good2"}
    content = kept["good2"].read_bytes()
    kept["good2"].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    before = {name: path.stat().st_mtime_ns for name, path in kept.items()}
    nodes.gather_clips(params, "wan", HERE, checkpoints)
    after = {name: path.stat().st_mtime_ns for name, path in kept.items()}
    assert [name for name in kept if after[name] != before[name]] == ["good2"]
    again = run(tmp_path / "again", params)
    assert again[0].equals(whole[0]) and again[1].equals(whole[1])
    assert not list(checkpoints.rglob("*.*"))
    # Another file is another source: nothing of the former one is taken for it.
    nodes.gather_clips(params, "wan", HERE, checkpoints)
    save_moving(mixed / "good3.mp4", 9)
    changed = run(tmp_path / "changed", params)[0]
    assert changed["sha256"].iloc[3] != whole[0]["sha256"].iloc[3]


def test_images_in_no_order_become_a_smooth_clip_and_can_be_given_back(tmp_path):
    """Shuffled names; the clip has the true order or its reverse, and says which image each view is."""
    true = [[6, 2, 9, 0, 11, 4, 7, 12, 1, 10, 3, 8, 5], [*range(13)], [12, 3, 8, 0, 5, 10, 1, 6, 11, 2, 7, 4, 9]]
    views = make_world(WorldConfig(9001), range(3)).rgb
    for scene, names in enumerate(true):
        for name, view in zip(names, views[scene], strict=True):
            save_image(tmp_path / "source" / f"scene{scene}" / f"{name}.png", view)
    ordered = settings(source=str(tmp_path / "source"), order="similarity")
    index, quarantine, _ = run(tmp_path / "clips", ordered)
    assert len(index) == 3 and len(quarantine) == 0
    for scene, names in enumerate(true):
        clip = ClipStore(tmp_path / "clips", index).load(f"scene{scene}")
        wanted = [f"{name}.png" for name in names]
        assert list(clip.files) in (wanted, wanted[::-1])
        seen = views[scene] if list(clip.files) == wanted else views[scene].flip(0)
        assert (clip.frames - seen).abs().max() < 0.01
    given = run(tmp_path / "given", settings(source=str(tmp_path / "source")))[0]
    assert ClipStore(tmp_path / "given", given).load("scene1").files == ()


def test_nothing_usable_or_missing_source_is_one_error(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match="none of 1 candidates is usable"):
        nodes.gather_clips(settings(source=str(tmp_path)), "wan", Workers(), tmp_path / "checkpoints")
    with pytest.raises(ValueError, match=r"source folder .*found nothing"):
        nodes.gather_clips(settings(source=str(tmp_path / "absent")), "wan", Workers(), tmp_path / "checkpoints")


def test_clips_have_a_number_of_frames_that_their_generator_takes(tmp_path):
    """SVD takes any number; a short clip gets what there is, or the largest number below that the generator takes."""
    source = tmp_path / "source"
    for seed, count in enumerate((14, 15, 16)):
        save_moving(source / f"clip{seed}.mp4", seed, views=count)
    params = settings(source=str(source), frames=17)
    assert set(run(tmp_path / "wan", params)[0]["frames"]) == {13}
    assert sorted(run(tmp_path / "svd", params, "svd")[0]["frames"]) == [14, 15, 16]
    with pytest.raises(
        ValueError, match=r"curate\.frames: 12 frames: generator wan takes 1, 5, 9, .* \(nearest: 9 or 13\)"
    ):
        nodes.gather_clips(settings(frames=12), "wan", Workers(), tmp_path / "checkpoints")
    nodes.gather_clips(settings(source=str(source), frames=12), "svd", Workers(), tmp_path / "checkpoints")


def test_procedural_clips_keep_cameras_depth_and_captions(tmp_path):
    params = settings(procedural={"scenes": 5, "seed": 3}, frames=5, height=32, width=32)
    index, quarantine, report = run(tmp_path / "clips", params)
    assert len(quarantine) == 0 and report["captioned"] == 5 and report["source"] == "procedural"
    clip = ClipStore(tmp_path / "clips", index).load("scene-00004")
    assert clip.depth.shape == (5, 32, 32) and clip.cameras.intrinsics.shape == (5, 3, 3)
    fewer = run(tmp_path / "fewer", settings(procedural={"scenes": 3, "seed": 3}, frames=5, height=32, width=32))[0]
    # A clip does not depend on how many others there are.
    assert list(fewer["sha256"]) == list(index["sha256"][:3])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sourse": "x"}, "sourse"),
        ({"checks": {"min_brightnes": 0.1}}, "min_brightnes"),
        ({"order": "random"}, "'given' or 'similarity'"),
        ({"splits": {"fit": 0.5, "selection": 0.1, "heldout": 0.1}}, "must be 1"),
    ],
)
def test_wrong_parameters_are_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        settings(**changes)


def test_tables_and_pictures_are_saved_whole(tmp_path, mixed):
    _, quarantine, _ = run(tmp_path / "clips", settings(source=str(mixed)))
    table = ParquetTable(filepath=str(tmp_path / "t" / "q.parquet"), metadata={"tracking": "metrics"})
    table.save(quarantine)
    assert table.load().equals(quarantine)
    picture = PngImage(filepath=str(tmp_path / "t" / "p.png"))
    image = torch.randint(0, 256, (3, 6, 5), dtype=torch.uint8)
    picture.save(image)
    assert torch.equal(picture.load(), image)
    with pytest.raises(Exception, match=r"shape \[6, 5\]"):
        picture.save(image[0])
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["p.png", "q.parquet"]
