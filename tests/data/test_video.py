"""Videos of every kind become upright 8-bit sRGB over black, or one sentence."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from picture_kinds import bytes_of, colours
from video_kinds import (
    BT2020,
    P3,
    TURNED,
    WEIGHTS,
    clip,
    coded,
    encode,
    hlg,
    light_to_srgb,
    pq,
    show_by,
    srgb_to_light,
    to_wide,
)

from vist3a.data.rejected import RejectedError
from vist3a.data.video import VideoFile, _decoder

HLG, PQ = 18, 16


def read(path: Path) -> list[np.ndarray]:
    return [frame.permute(1, 2, 0).numpy() for frame in VideoFile(path).frames()]


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(RejectedError, match=sentence) as error:
        read(path)
    assert "\n" not in str(error.value)


def error_of(path: Path, wanted: list[np.ndarray]) -> float:
    found = read(path)
    assert len(found) == len(wanted)
    return float(np.mean([np.abs(a - b.astype(float)).mean() for a, b in zip(found, wanted, strict=True)]))


@pytest.mark.parametrize("name", TURNED)
def test_display_matrices_are_followed(tmp_path: Path, name: str) -> None:
    matrix, turn = TURNED[name]
    path = encode(tmp_path / "a.mp4", clip(0))
    stored = read(path)
    shown = read(show_by(path, matrix))
    assert all(np.array_equal(a, turn(b)) for a, b in zip(shown, stored, strict=True))


def test_odd_turns_are_named_and_empty_matrices_ignored(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", clip(0))
    stored = read(path)
    slanted = encode(tmp_path / "b.mp4", clip(0))
    refused(
        show_by(slanted, (0.866, 0.5, -0.5, 0.866)), r"shown by the matrix \(0\.86.*quarter turns and mirrors are read"
    )
    shown = read(show_by(path, (0, 0, 0, 0)))
    assert np.array_equal(shown[0], stored[0])


@pytest.mark.parametrize("turned", [False, True])
def test_oblong_pixels_turn_with_the_picture(tmp_path: Path, turned: bool) -> None:
    path = encode(tmp_path / "a.mp4", clip(0), aspect=Fraction(3, 2))
    if turned:
        show_by(path, TURNED["clockwise"][0])
    assert VideoFile(path).pixel_aspect() == pytest.approx(2 / 3 if turned else 3 / 2)


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_matrix_and_range_are_those_stated(tmp_path: Path, matrix: int, full: bool, bits: int) -> None:
    signal = colours(matrix)
    frame = coded(signal, matrix, full, bits)
    path = encode(tmp_path / "a.mkv", [frame], "ffv1", frame.format.name, tags=(matrix, 2 if full else 1, 1, 1))
    assert np.abs(read(path)[0] - 255 * signal).max() < 2.6


def test_a_matrix_that_cannot_be_followed_is_named(tmp_path: Path) -> None:
    frame = coded(colours(0), 9, False, 10)
    path = encode(tmp_path / "a.mkv", [frame], "ffv1", frame.format.name, tags=(14, 1, 16, 9))
    refused(path, r"the video's colour matrix \(number 14 of ITU-T H\.273\) is not read; those of BT\.601, BT\.709")


def in_high_range(frames: list[np.ndarray], transfer: int) -> list[av.VideoFrame]:
    """Ten bits of BT.2020 whose paper white is sRGB's white."""
    paper = np.exp((0.75 - 0.55991073) / 0.17883277) / 12 + 0.28466892 / 12
    light = [to_wide(srgb_to_light(frame / 255), BT2020) for frame in frames]
    signals = [hlg(part * paper) if transfer == HLG else pq(part.clip(0) * 203) for part in light]
    return [coded(np.clip(signal, 0, 1), 9, False, 10) for signal in signals]


@pytest.mark.parametrize("transfer", [HLG, PQ], ids=["HLG", "PQ"])
def test_high_dynamic_range_looks_as_its_standard_version(tmp_path: Path, transfer: int) -> None:
    wanted = clip(1)  # at most 0.9 of the signal: below the highlights
    frames = in_high_range(wanted, transfer)
    assert error_of(encode(tmp_path / "a.mkv", frames, "ffv1", "yuv444p10le", tags=(9, 1, transfer, 9)), wanted) < 0.5
    untagged = encode(tmp_path / "b.mkv", frames, "ffv1", "yuv444p10le", tags=(9, 1, 1, 1))
    assert error_of(untagged, wanted) > 15  # what taking it for standard range costs
    small = [frame.reformat(format="yuv420p10le") for frame in in_high_range(wanted, transfer)]
    options = {"crf": "8", "x265-params": "log-level=none"}
    phone = encode(tmp_path / "phone.mp4", small, "libx265", "yuv420p10le", options, tags=(9, 1, transfer, 9))
    standard = encode(tmp_path / "standard.mp4", wanted, options={"crf": "8"})
    assert error_of(phone, wanted) < error_of(standard, wanted) + 0.5


def test_highlights_stay_distinct_and_below_white(tmp_path: Path) -> None:
    ramp = np.linspace(0.3, 1, 64)[None, :, None].repeat(48, 0).repeat(3, 2)
    for transfer in (HLG, PQ):
        path = encode(tmp_path / "a.mkv", [coded(ramp, 9, False, 10)], "ffv1", "yuv444p10le", tags=(9, 1, transfer, 9))
        row = read(path)[0][20, :, 1].astype(int)
        assert (np.diff(row) >= 0).all()
        assert row[-1] == 255
        paper = 0.75 if transfer == HLG else 0.5807
        assert row[np.abs(ramp[0, :, 0] - paper).argmin()] in range(240, 251)


def test_wide_gamut_of_standard_range_becomes_srgb(tmp_path: Path) -> None:
    wanted = clip(2)
    for number, primaries in ((9, BT2020), (12, P3)):
        signals = [light_to_srgb(to_wide(srgb_to_light(frame / 255), primaries).clip(0, 1)) for frame in wanted]
        frames = [coded(signal, 1, False, 10) for signal in signals]
        assert error_of(encode(tmp_path / "a.mkv", frames, "ffv1", "yuv444p10le", tags=(1, 1, 1, number)), wanted) < 0.5
        assert error_of(encode(tmp_path / "b.mkv", frames, "ffv1", "yuv444p10le", tags=(1, 1, 1, 1)), wanted) > 3


@pytest.mark.parametrize(
    ("ending", "codec", "pixels", "allowed"),
    [
        ("webm", "libvpx-vp9", "yuva420p", 3.0),
        ("webm", "libvpx", "yuva420p", 3.0),
        ("mov", "prores_ks", "yuva444p10le", 1.0),
        ("mov", "qtrle", "argb", 0.0),
        ("mov", "png", "rgba", 0.0),
        ("avi", "utvideo", "gbrap", 0.0),
        ("mkv", "ffv1", "yuva444p", 1.0),
        ("apng", "apng", "rgba", 0.0),
    ],
)
def test_what_is_below_transparency_does_not_come_back(
    tmp_path: Path, ending: str, codec: str, pixels: str, allowed: float
) -> None:
    alpha = np.full((48, 64, 1), 255, np.uint8)
    alpha[:, :24], alpha[:, 24:40] = 0, 128
    frames = [np.concatenate([frame, alpha], -1) for frame in clip(3)]
    options = {"auto-alt-ref": "0", "crf": "10", "b": "0"} if codec.startswith("libvpx") else {}
    path = encode(tmp_path / f"a.{ending}", frames, codec, pixels, options)
    wanted = [np.round(frame * (alpha / 255)) for frame in clip(3)]
    assert max(int(frame[:, :22].max()) for frame in read(path)) <= (0 if allowed < 2 else 2)
    assert error_of(path, wanted) <= allowed


def test_a_copied_file_keeps_its_transparency(tmp_path: Path) -> None:
    """As FFmpeg copies a stream, its metadata along: the mode of the alpha becomes a tag in capitals."""
    alpha = np.full((48, 64, 1), 255, np.uint8)
    alpha[:, :24] = 0
    frames = [np.concatenate([frame, alpha], -1) for frame in clip(3)]
    path = encode(tmp_path / "a.webm", frames, "libvpx-vp9", "yuva420p", {"auto-alt-ref": "0", "crf": "10", "b": "0"})
    with av.open(str(path)) as source, av.open(str(tmp_path / "copy.webm"), "w") as copy:
        (original,) = source.streams.video
        stream = copy.add_stream_from_template(original)
        stream.metadata.update(original.metadata)
        for packet in source.demux(original):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    with av.open(str(tmp_path / "copy.webm")) as file:
        assert file.streams.video[0].metadata["ALPHA_MODE"] == "1"
    assert max(int(frame[:, :22].max()) for frame in read(tmp_path / "copy.webm")) <= 2


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_an_empty_packet_does_not_end_a_film_with_alpha(tmp_path: Path, codec: str) -> None:
    """The muxers that PyAV has leave such packets out, so one is handed to the decoder."""
    opaque = np.full((48, 64, 1), 255, np.uint8)
    frames = [np.concatenate([frame, opaque], -1) for frame in clip(3)]
    path = encode(tmp_path / "a.webm", frames, codec, "yuva420p", {"auto-alt-ref": "0", "crf": "10", "b": "0"})
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decode = _decoder(stream)
        for packet in container.demux(stream):
            found += decode(packet)
            if packet.dts == 2 * 100:
                empty = av.Packet(0)
                empty.stream, empty.pts, empty.dts = stream, packet.pts + 50, packet.dts + 50
                found += decode(empty)
    assert [frame.pts for frame in found] == [0, 100, 200, 300, 400, 500]


def test_palettes_of_gif_and_screen_recordings(tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.fromarray(frame).quantize(32) for frame in clip(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    assert error_of(tmp_path / "a.gif", [np.array(frame.convert("RGB")) for frame in frames]) < 0.1
    images = []
    for frame in clip(4):
        clear = np.concatenate([frame // 64 * 64, np.full((48, 64, 1), 255, np.uint8)], -1)
        clear[:, :20, 3] = 0
        images.append(Image.fromarray(clear))
    images[0].save(tmp_path / "clear.gif", save_all=True, append_images=images[1:], duration=100, disposal=2)
    assert max(int(frame[:, :20].max()) for frame in read(tmp_path / "clear.gif")) == 0
    frames[0].save(tmp_path / "p.png", transparency=int(np.array(frames[0])[0, 0]))
    with av.open(str(tmp_path / "p.png")) as file:
        assert next(file.decode(video=0)).format.name == "pal8"
    assert read(tmp_path / "p.png")[0][0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("codec", "pixels"), [("ffv1", "gray"), ("ffv1", "gray16le"), ("ffv1", "gray10le"), ("mjpeg", "gray")]
)
def test_grey_videos(tmp_path: Path, codec: str, pixels: str) -> None:
    grey = [frame[..., :1].repeat(3, -1) for frame in clip(5)]
    if codec == "mjpeg":
        pytest.importorskip("PIL")
        path = _motion_jpeg(tmp_path / "a.mjpg", [frame[..., 0] for frame in grey])
    else:
        bits = {"gray": 8, "gray10le": 10, "gray16le": 16}[pixels]
        kind = np.uint8 if bits == 8 else np.uint16
        planes = [np.round(frame[..., 0] * ((2**bits - 1) / 255)).astype(kind) for frame in grey]
        frames = [av.VideoFrame.from_ndarray(plane, format=pixels) for plane in planes]
        path = encode(tmp_path / "a.mkv", frames, codec, pixels)
    assert error_of(path, grey) < 1.5


def _motion_jpeg(path: Path, frames: list[np.ndarray]) -> Path:
    from PIL import Image

    with path.open("wb") as file:
        for frame in frames:
            Image.fromarray(frame).save(file, format="JPEG", quality=95)
    return path


def test_pictures_that_stay_are_no_missing_frames(tmp_path: Path) -> None:
    for name, times in (("middle", (0, 1, 2, 5, 6, 9)), ("end", (0, 1, 2, 3, 4, 5))):
        path = encode(tmp_path / f"{name}.avi", clip(6), "mjpeg", "yuvj420p", times=times)
        assert error_of(path, clip(6)) < 6  # coarse JPEG
    content = (tmp_path / "middle.avi").read_bytes()
    with av.open(str(tmp_path / "middle.avi")) as file:
        assert file.streams.video[0].frames == 10
    for share in (0.5, 0.9, 0.99):
        (tmp_path / "cut.avi").write_bytes(content[: int(len(content) * share)])
        refused(tmp_path / "cut.avi", "cut short: |damaged at packet|cannot be decoded")


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("mkv", "libx264"), ("webm", "libvpx-vp9"), ("flv", "flv"), ("wmv", "wmv2"), ("mp4", "mpeg4")],
)
def test_cut_files_are_named(tmp_path: Path, ending: str, codec: str) -> None:
    path = encode(tmp_path / f"a.{ending}", clip(7, views=25), codec, options={"g": "5"})
    assert len(read(path)) == 25
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    refused(path, "cut short: .* (frames|seconds|bytes) are there|damaged at packet|cannot be decoded")


def test_the_stream_is_the_best_one(tmp_path: Path) -> None:
    cover = bytes_of(colours(8, 32, 32))
    path = encode(tmp_path / "a.nut", clip(8), first=cover)
    with av.open(str(path)) as file:
        assert file.streams.video[0].width == 32
    assert error_of(path, clip(8)) < 4
    silent = tmp_path / "music.mp4"
    with av.open(str(silent), "w") as file:
        still = file.add_stream("png", rate=1)
        still.height, still.width, still.pix_fmt = 32, 32, "rgb24"
        still.disposition = av.stream.Disposition.attached_pic
        sound = file.add_stream("aac", rate=8000)
        file.mux(still.encode(av.VideoFrame.from_ndarray(cover, format="rgb24")))
        file.mux(still.encode(None))
        file.mux(sound.encode(None))
    refused(silent, "cover picture but no video stream|no video stream")


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", clip(9), times=(0, 1, 5, 6, 20, 21))
    assert [round(time, 2) for time, _ in VideoFile(path).timed_frames()] == [0, 0.1, 0.5, 0.6, 2, 2.1]


def test_interlaced_frames_have_no_combs(tmp_path: Path) -> None:
    moments = clip(10, views=12)
    woven = [first.copy() for first in moments[::2]]
    for frame, other in zip(woven, moments[1::2], strict=True):
        frame[1::2] = other[1::2]  # the field that x264 says to come first
    path = encode(tmp_path / "a.mkv", woven, pixels="yuv444p", options={"x264-params": "interlaced=1", "crf": "5"})
    found = read(path)
    assert len(found) == 6

    def comb(frame: np.ndarray) -> float:
        rows = frame.astype(float)
        return float(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean())

    assert np.mean([comb(f) for f in found]) < 0.4 * np.mean([comb(f) for f in woven])
    assert error_of(path, moments[1::2]) < 2
    assert [round(time, 2) for time, _ in VideoFile(path).timed_frames()] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert VideoFile(path).pixel_aspect() == 1


def test_lists_of_other_files_are_not_followed(tmp_path: Path) -> None:
    encode(tmp_path / "secret.ts", clip(11), container="mpegts")
    (tmp_path / "a.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    refused(tmp_path / "a.mp4", "cannot be decoded")
    (tmp_path / "b.mp4").write_text("ffconcat version 1.0\nfile secret.ts\n")
    refused(tmp_path / "b.mp4", "cannot be decoded")


def test_names_with_colons_are_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(tmp_path / "a.mp4", clip(11)).rename(tmp_path / "pipe:0.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read(Path("pipe:0.mp4"))) == 6


def test_tags_in_other_encodings_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "Zimmer"
        stream = file.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for frame in clip(12):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
    path.write_bytes(path.read_bytes().replace(b"Zimmer", b"Stra\xdfe"))
    assert len(read(path)) == 6
