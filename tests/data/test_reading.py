import pytest
import torch
from clip_makers import moving, picture, save_moving

from vist3a.data.checks import Limits
from vist3a.data.reading import read_clip
from vist3a.data.rejected import RejectedError
from vist3a.data.resizing import crop_box, fit
from vist3a.data.sources import scan
from vist3a.data.video import VideoFile
from vist3a.export.video import save_image, save_video
from vist3a.records.frame_count import causal_frames


def read(folder, views=13, height=64, width=64, limits=None):
    (source,) = scan(folder)
    return read_clip(source, views, height, width, limits or Limits(), allowed=causal_frames(4))


def refused(folder, sentence, **settings):
    with pytest.raises(RejectedError, match=sentence) as error:
        read(folder, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(96, 128), (128, 96)], ids=["landscape", "portrait"])
def test_a_good_video_becomes_a_clip(tmp_path, size):
    save_moving(tmp_path / "good.mp4", 1, height=size[0], width=size[1])
    clip = read(tmp_path)
    assert clip.frames.shape == (13, 3, 64, 64)
    assert (clip.provenance.first, clip.provenance.stride, clip.provenance.source) == (0, 1.0, "good.mp4")
    wanted = torch.stack(
        [fit((view * 255).round().byte(), 64, 64) for view in moving(1, height=size[0], width=size[1])]
    )
    assert (clip.frames.float() - wanted.float()).abs().mean() < 4


def test_images_become_the_same_clip(tmp_path):
    for i, view in enumerate(moving(2, views=7)):
        save_image(tmp_path / "room" / f"{i}.png", view)
    (tmp_path / "room" / "caption.txt").write_text("a room")
    clip = read(tmp_path)
    assert (clip.name, clip.caption, len(clip.frames)) == ("room", "a room", 5)
    assert torch.equal(clip.frames[0], fit((moving(2, views=7)[0] * 255).round().byte(), 64, 64))


@pytest.mark.parametrize("fast_start", [True, False])
def test_a_truncated_video_is_refused(tmp_path, fast_start):
    path = save_moving(tmp_path / "whole.mp4", 1)
    if fast_start:
        import av

        with (
            av.open(str(path)) as source,
            av.open(str(tmp_path / "cut.mp4"), "w", options={"movflags": "faststart"}) as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
        path.unlink()
        path = tmp_path / "cut.mp4"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    refused(tmp_path, "cannot be decoded|damaged|cut short")


def test_text_named_as_a_video_is_refused(tmp_path):
    (tmp_path / "notes.mp4").write_text("this is no video\n" * 50)
    refused(tmp_path, "cannot be decoded .*a whole video file is needed")


def test_one_frame_is_too_few(tmp_path):
    save_moving(tmp_path / "one.mp4", 1, views=1)
    refused(tmp_path, "1 frame found; at least 5 are needed")


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (torch.zeros(13, 3, 96, 96), "13 of 13 frames are too dark"),
        (torch.ones(13, 3, 96, 96), "13 of 13 frames are too bright"),
        (torch.full((13, 3, 96, 96), 0.5), "13 of 13 frames are of one colour"),
        (picture(3)[None].expand(13, -1, -1, -1), "12 of 13 frames repeat"),
        (torch.nn.functional.avg_pool2d(moving(3), 31, 1, 15), "13 of 13 frames are blurred"),
        (torch.cat([moving(4, views=4), 1 - moving(5, views=4) ** 2 * 0.6]), "1 scene cuts leave"),
    ],
    ids=["black", "white", "plain", "frozen", "blurred", "cut"],
)
def test_bad_pictures_are_refused(tmp_path, frames, sentence):
    save_video(tmp_path / "bad.mp4", frames)
    refused(tmp_path, sentence)


def test_a_still_camera_is_refused(tmp_path):
    frames = picture(6)[None].repeat(13, 1, 1, 1)
    for i in range(13):  # something small moves
        frames[i, :, 40:60, 40 + 6 * i : 60 + 6 * i] = 0.9
    save_video(tmp_path / "still.mp4", frames)
    refused(tmp_path, r"the camera hardly moves .*at least 0\.3 is allowed")


def test_a_small_picture_is_refused(tmp_path):
    save_moving(tmp_path / "small.mp4", 1, height=48, width=128)
    refused(tmp_path, "too small: 128x48 pixels, of which 48x48 are used; at least 64x64 are needed")


def test_the_longest_shot_is_kept(tmp_path):
    save_video(tmp_path / "cut.mp4", torch.cat([moving(4, views=5), 1 - moving(5, views=9) ** 2 * 0.6]))
    clip = read(tmp_path)
    assert (len(clip.frames), clip.provenance.first) == (9, 5)


def test_dark_and_repeated_frames_are_left_out(tmp_path):
    good = moving(7, views=5)
    save_video(tmp_path / "mixed.mp4", torch.cat([torch.zeros_like(good[:2]), good[:3], good[2:3], good[3:]]))
    clip = read(tmp_path)
    assert (len(clip.frames), clip.provenance.first) == (5, 2)


def test_stated_rotation_is_applied(tmp_path):
    path = save_moving(tmp_path / "turned.mp4", 8)
    upright = next(VideoFile(path).frames())
    content = path.read_bytes()
    one, unit = (1 << 16).to_bytes(4, "big"), (1 << 30).to_bytes(4, "big")
    none, minus = bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True)
    identity = one + none * 3 + one + none * 3 + unit
    quarter = none + one + none + minus + none * 4 + unit  # 90 degrees clockwise, as phones write it
    track = content.rindex(identity)
    path.write_bytes(content[:track] + quarter + content[track + 36 :])
    assert torch.equal(next(VideoFile(path).frames()), torch.rot90(upright, -1, (1, 2)))


@pytest.mark.parametrize(
    ("size", "target", "aspect", "box"),
    [
        ((1920, 1080), (64, 64), 1.0, (420, 0, 1080, 1080)),
        ((336, 448), (64, 64), 1.0, (0, 56, 336, 336)),
        ((100, 200), (50, 100), 1.0, (0, 0, 100, 200)),
        ((100, 100), (64, 64), 2.0, (0, 25, 100, 50)),
    ],
)
def test_crop_is_centred_and_of_the_targets_aspect(size, target, aspect, box):
    assert crop_box(size, target, aspect) == box


def test_real_clips_pass(clips_root):
    clips = {s.name: read_clip(s, 13, 64, 64, Limits(), allowed=causal_frames(4)) for s in scan(clips_root)}
    assert {name: len(clip.frames) for name, clip in clips.items()} == {
        "dtu_scan_106": 13,
        "fillerbuster_ramen": 13,
        "fox": 13,
        "kitti360": 13,
        "llff_fortress": 5,
        "vrnerf_kitchen": 13,
    }
