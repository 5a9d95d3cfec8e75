"""Pictures of every kind become 8-bit sRGB over black, or one sentence."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from picture_kinds import ADOBE_RGB, DISPLAY_P3, TURNS, bytes_of, colours, in_srgb, png, profile, saved
from PIL import Image

from vist3a.data.formats.posed import picture_size
from vist3a.data.image_folder import image_paths
from vist3a.data.picture import picture_endings, read_picture
from vist3a.data.rejected import RejectedError


def read(path: Path, upright: bool = True) -> np.ndarray:
    return read_picture(path, upright).permute(1, 2, 0).numpy()


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(RejectedError, match=sentence) as error:
        read_picture(path, True)
    assert "\n" not in str(error.value)


def test_sixteen_bits_are_divided_by_257(tmp_path: Path) -> None:
    values = np.arange(65536).reshape(256, 256, 1)
    wanted = np.round(values / 257).astype(np.uint8).repeat(3, axis=2)
    (tmp_path / "grey.png").write_bytes(png(values))
    assert np.array_equal(read(tmp_path / "grey.png"), wanted)
    saved(tmp_path / "grey.tif", values[..., 0].astype(np.uint16))
    assert np.array_equal(read(tmp_path / "grey.tif"), wanted)
    Image.frombytes("I;16B", (256, 256), values.astype(">u2").tobytes()).save(tmp_path / "big.tif")
    assert np.array_equal(read(tmp_path / "big.tif"), wanted)
    (tmp_path / "grey.pgm").write_bytes(b"P5 256 256 65535\n" + values.astype(">u2").tobytes())
    assert np.array_equal(read(tmp_path / "grey.pgm"), wanted)
    (tmp_path / "twelve.pgm").write_bytes(b"P5 256 16 4095\n" + np.arange(4096, dtype=">u2").tobytes())
    assert np.abs(read(tmp_path / "twelve.pgm")[..., 0].ravel() - np.arange(4096) / 4095 * 255).max() <= 0.51


def test_masked_sixteen_bits_keep_their_middle(tmp_path: Path) -> None:
    values = (colours(0)[..., :1] * 40000).astype(int)
    values[:, :20] = 0
    (tmp_path / "masked.png").write_bytes(png(values))
    assert np.array_equal(read(tmp_path / "masked.png")[..., :1], np.round(values / 257))
    (tmp_path / "clear.png").write_bytes(png(values, (b"tRNS", int(values[5, 50, 0]).to_bytes(2, "big"))))
    wanted = np.where(values == values[5, 50], 0, np.round(values / 257))
    assert np.array_equal(read(tmp_path / "clear.png")[..., :1], wanted)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bits_of_more_channels(tmp_path: Path, channels: int) -> None:
    values = np.concatenate([colours(1), colours(2)[..., :1]], axis=-1)[..., -channels:] * 65535
    (tmp_path / "a.png").write_bytes(png(values))
    wanted = values / 257 * (values[..., -1:] / 65535 if channels in {2, 4} else 1)
    colour = wanted[..., : channels - 1 if channels in {2, 4} else 3]
    assert np.abs(read(tmp_path / "a.png") - colour).max() < 2  # Pillow cuts the low byte


def test_grey_that_counts_from_white_is_turned(tmp_path: Path) -> None:
    saved(tmp_path / "a.tif", np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32), tiffinfo={262: 0})
    assert np.array_equal(read(tmp_path / "a.tif")[..., 0].ravel(), 255 - np.round(np.arange(0, 65536, 64) / 257))


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_numbers_without_a_white_are_refused(tmp_path: Path, kind: str) -> None:
    saved(tmp_path / "a.tif", np.arange(64).reshape(8, 8).astype(kind))
    refused(tmp_path / "a.tif", "image a.tif holds (floats|32-bit integers), whose white is not stated; 8 or 16 bits")


def test_what_is_below_transparency_does_not_come_back(tmp_path: Path) -> None:
    colour, alpha = bytes_of(colours(3)), bytes_of(colours(4)[..., :1])
    alpha[:, :16], alpha[:, -16:] = 0, 255
    wanted = np.round(colour * (alpha / 255.0))
    for ending, options in (("png", {}), ("tif", {}), ("webp", {"lossless": True, "exact": True})):
        saved(
            tmp_path / f"a.{ending}",
            np.concatenate([colour, alpha], -1),
            **options,
        )
        assert np.array_equal(read(tmp_path / f"a.{ending}"), wanted), ending
    grey = np.concatenate([colour[..., :1], alpha], -1)
    saved(tmp_path / "la.png", grey)
    assert np.array_equal(read(tmp_path / "la.png"), wanted[..., :1].repeat(3, -1))
    Image.fromarray(colour).save(tmp_path / "key.png", transparency=tuple(int(c) for c in colour[7, 9]))
    key = (colour == colour[7, 9]).all(-1, keepdims=True)
    assert np.array_equal(read(tmp_path / "key.png"), np.where(key, 0, colour))


def test_palettes_ink_and_single_bits(tmp_path: Path) -> None:
    indices = np.random.default_rng(0).integers(0, 4, (20, 30)).astype(np.uint8)
    palette = np.array([[250, 0, 0], [0, 250, 0], [10, 20, 250], [80, 90, 100]], np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(palette.tobytes())
    image.putdata(indices.ravel())
    image.save(tmp_path / "p.png", transparency=bytes([255, 0, 128, 255]))
    opaque = np.array([255, 0, 128, 255])[indices][..., None] / 255
    assert np.array_equal(read(tmp_path / "p.png"), np.round(palette[indices] * opaque))
    Image.fromarray(indices > 1).save(tmp_path / "bits.png")
    assert np.array_equal(read(tmp_path / "bits.png")[..., 1], 255 * (indices > 1))
    ink = np.stack([indices * 60, 255 - indices * 60, indices * 20, indices * 10], -1).astype(np.uint8)
    Image.fromarray(ink, "CMYK").save(tmp_path / "ink.tif")
    wanted = (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:]) / 255
    assert np.abs(read(tmp_path / "ink.tif") - wanted).max() <= 1


@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB], ids=["Display P3", "Adobe RGB"])
@pytest.mark.parametrize("clear", [False, True], ids=["opaque", "alpha"])
def test_wide_gamuts_become_srgb(tmp_path: Path, primaries: tuple[tuple[float, ...], ...], clear: bool) -> None:
    values = bytes_of(colours(5))
    wanted = in_srgb(values / 255, primaries, 2.2)
    stored = np.concatenate([values, np.full_like(values[..., :1], 255)], -1) if clear else values
    path = saved(tmp_path / "a.png", stored, icc_profile=profile(primaries, 563 / 256, "wide"))
    assert np.abs(read(path) - wanted).max() < 3.5  # steep near black
    assert np.abs(read(path) - wanted).mean() < 0.5
    assert np.abs(values - wanted).mean() > 5  # what ignoring the profile costs


def test_grey_profiles_are_followed_and_useless_ones_ignored(tmp_path: Path) -> None:
    values = bytes_of(colours(6))
    path = saved(tmp_path / "grey.png", values[..., 0], icc_profile=profile((), 461 / 256, "grey of old Macs"))
    light = (values[..., 0] / 255) ** (461 / 256)
    wanted = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(read(path)[..., 1] - wanted).max() < 3.5
    for useless in (b"nothing", profile((), 1.0, "grey for colours"), profile(ADOBE_RGB, 2.2, "sRGB by name")):
        assert np.array_equal(read(saved(tmp_path / "rgb.png", values, icc_profile=useless)), values)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_orientations_are_followed_or_left(tmp_path: Path, ending: str, grey: bool) -> None:
    values = bytes_of(colours(7))
    stored = values[..., 1] if grey else values
    options = {"png": {}, "tif": {}, "webp": {"lossless": True}}.get(ending, {"quality": 95})
    for orientation, turn in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = saved(tmp_path / f"a.{ending}", stored, exif=exif, **options)
        as_stored, wanted = read(path, upright=False), stored[..., None].repeat(3, -1) if grey else values
        assert picture_size(path) == as_stored.shape[:2] == (48, 64)
        assert np.abs(as_stored - wanted.astype(float)).mean() < 3
        assert np.array_equal(read(path), turn(as_stored)), orientation


@pytest.mark.filterwarnings("ignore:.*image format is deprecated")
def test_every_ending_that_pillow_decodes_is_found_and_read(tmp_path: Path) -> None:
    image, written = Image.fromarray(bytes_of(colours(8, 64, 64))), {}
    Image.init()
    for ending in sorted(picture_endings()):
        kind = Image.registered_extensions().get(ending)
        if kind is None or kind not in Image.SAVE:
            continue
        stored = {"BLP": image.convert("P"), "MSP": image.convert("1"), "XBM": image.convert("1")}.get(kind, image)
        stored.save(tmp_path / f"a{ending}")
        written[ending] = np.array(stored.convert("RGB"))
    assert {".avif", ".tif", ".bmp", ".jp2", ".ppm", ".tga", ".webp", ".jfif", ".mpo"} <= set(written)
    assert {path.suffix for path in image_paths(tmp_path)} == set(written)
    for path in image_paths(tmp_path):
        if path.suffix not in {".pfm", ".icns"}:  # floats; sizes of its own
            assert np.abs(read(path) - written[path.suffix].astype(float)).mean() < 6, path.suffix
    assert not picture_endings() & {".gif", ".apng", ".eps", ".ps", ".pdf", ".mpg", ".h5", ".wmf", ".txt"}


def test_heic_is_read_with_its_extra_and_named_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    values = bytes_of(colours(9))
    pillow_heif.from_pillow(Image.fromarray(values)).save(tmp_path / "a.heic", quality=95)
    assert np.abs(read(tmp_path / "a.heic") - values.astype(float)).mean() < 5  # half the resolution of colours
    found = "vist3a.data.picture.find_spec"
    monkeypatch.setattr(found, lambda name: None)
    monkeypatch.setattr("vist3a.data.picture._formats", lambda: ("PNG", "JPEG"))
    refused(tmp_path / "a.heic", r'image a.heic cannot be read: HEIC files need the extra "heic" \(pip install')


def test_damage_animations_and_bombs_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = bytes_of(colours(10))
    refused(tmp_path / "none.png", "image none.png is missing")
    whole = saved(tmp_path / "a.png", values).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.png", "image cut.png cannot be read; a whole picture is needed")
    frames = [Image.fromarray(np.roll(values, 9 * i, 1)) for i in range(3)]
    for ending in ("png", "webp", "gif", "avif"):
        frames[0].save(tmp_path / f"moving.{ending}", save_all=True, append_images=frames[1:])
        refused(
            tmp_path / f"moving.{ending}", "is an animation of 3 pictures; pictures of one view each, or a video file"
        )
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    refused(tmp_path / "program.png", "cannot be read")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    refused(tmp_path / "a.png", "a.png cannot be read: it has too many pixels; at most 2000 are allowed")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with warnings.catch_warnings(record=True) as said:  # large, but allowed
        warnings.simplefilter("always")
        assert np.array_equal(read(tmp_path / "a.png"), values)
    assert not said


def test_whatever_a_decoder_raises_becomes_a_sentence(tmp_path: Path) -> None:
    def broken(file: object, name: object) -> Image.Image:
        raise ZeroDivisionError("width")

    saved(tmp_path / "a.png", bytes_of(colours(11)))
    factory = Image.OPEN["PNG"]
    Image.OPEN["PNG"] = (broken, factory[1])
    try:
        refused(tmp_path / "a.png", "image a.png cannot be read; a whole picture is needed")
    finally:
        Image.OPEN["PNG"] = factory


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names of any bytes")
def test_content_counts_not_the_ending(tmp_path: Path) -> None:
    values = bytes_of(colours(12))
    saved(tmp_path / "a.png", values).rename(tmp_path / "a.jpg")
    assert np.array_equal(read(tmp_path / "a.jpg"), values)
