"""Lenses against OpenCV's formulas, written out once more in NumPy float64, and inverted by SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from vist3a.data.formats.colmap_files import MODELS
from vist3a.data.formats.lens import COLMAP_MODELS, FISHEYE, Lens, colmap_lens
from vist3a.data.rejected import RejectedError

WIDTH, HEIGHT = 96, 72


def brown(x, y, k1=0.0, k2=0.0, p1=0.0, p2=0.0, k3=0.0, k4=0.0, k5=0.0, k6=0.0):
    r2 = x**2 + y**2
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2), y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y


def fisheye(x, y, k1=0.0, k2=0.0, k3=0.0, k4=0.0):
    r = np.hypot(x, y)
    theta = np.arctan(r)
    bent = theta * (1 + k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8)
    return x * bent / r, y * bent / r


F, C = [70.0, 71.0], [47.5, 36.25]
CASES = [
    # name, COLMAP's number, its parameters, what they are by the oracle
    ("SIMPLE_PINHOLE", 0, [70.0, *C], 1, brown, {}),
    ("PINHOLE", 1, [*F, *C], 2, brown, {}),
    ("SIMPLE_RADIAL", 2, [70.0, *C, 0.05], 1, brown, {"k1": 0.05}),
    ("RADIAL", 3, [70.0, *C, 0.05, -0.02], 1, brown, {"k1": 0.05, "k2": -0.02}),
    ("OPENCV", 4, [*F, *C, 0.1, -0.03, 0.002, -0.001], 2, brown, {"k1": 0.1, "k2": -0.03, "p1": 0.002, "p2": -0.001}),
    ("OPENCV_FISHEYE", 5, [*F, *C, -0.08, 0.02, 0.01, -0.004], 2, fisheye, {"k1": -0.08, "k2": 0.02, "k3": 0.01, "k4": -0.004}),
    (
        "FULL_OPENCV", 6, [*F, *C, 0.1, -0.03, 0.002, -0.001, 0.01, 0.02, -0.01, 0.003], 2, brown,
        {"k1": 0.1, "k2": -0.03, "p1": 0.002, "p2": -0.001, "k3": 0.01, "k4": 0.02, "k5": -0.01, "k6": 0.003},
    ),
    ("SIMPLE_RADIAL_FISHEYE", 8, [70.0, *C, -0.05], 1, fisheye, {"k1": -0.05}),
    ("RADIAL_FISHEYE", 9, [70.0, *C, -0.05, 0.01], 1, fisheye, {"k1": -0.05, "k2": 0.01}),
    ("SIMPLE_FISHEYE", 14, [70.0, *C], 1, fisheye, {}),
    ("FISHEYE", 15, [*F, *C], 2, fisheye, {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number", "parameters", "focals", "oracle", "numbers"), CASES, ids=lambda c: str(c)[:20]
)
def test_every_lens_of_colmap_that_is_read(name, number, parameters, focals, oracle, numbers):
    assert MODELS[number] == (name, len(parameters))
    lens = colmap_lens(name, WIDTH, HEIGHT, parameters).for_size(HEIGHT, WIDTH)
    assert (lens.fx, lens.fy) == (parameters[0], parameters[focals - 1]) and [lens.cx, lens.cy] == C
    rng = np.random.default_rng(3)
    points = rng.uniform(-0.6, 0.6, (200, 2))
    found = lens.distorted(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(found, np.stack(oracle(points[:, 0], points[:, 1], **numbers), -1), atol=1e-14)
    # Back: the ray that SciPy finds for a place in the picture is the one that appears there.
    for place in found[:5]:
        ray = least_squares(
            lambda r, place=place: np.subtract(oracle(r[0], r[1], **numbers), place), place, xtol=1e-15
        ).x
        np.testing.assert_allclose(lens.distorted(torch.from_numpy(ray)[None])[0].numpy(), place, atol=1e-9)


def test_the_other_models_of_colmap_are_named():
    known = {number: name for number, (name, _) in enumerate(MODELS)}
    others = {7: "FOV", 10: "THIN_PRISM_FISHEYE", 11: "RAD_TAN_THIN_PRISM_FISHEYE", 12: "SIMPLE_DIVISION", 13: "DIVISION",
              16: "EUCM", 17: "EQUIRECTANGULAR"}  # fmt: skip
    assert {number: name for number, name in known.items() if name not in COLMAP_MODELS} == others
    for number, name in others.items():
        with pytest.raises(RejectedError, match=f"camera model {name}; allowed are SIMPLE_PINHOLE"):
            colmap_lens(name, WIDTH, HEIGHT, [1.0] * MODELS[number][1])


def pattern(x, y):
    return 127 + 60 * np.sin(9 * x) + 60 * np.cos(8 * y)


@pytest.mark.parametrize("numbers", [{}, {"k1": -0.08, "k2": 0.02}])
def test_a_fisheye_picture_becomes_that_of_a_pinhole(numbers):
    """Taken by the oracle's inverse (a table of radii), straightened by ours; a lens without numbers is still no pinhole."""
    lens = Lens(WIDTH, HEIGHT, 60.0, 60.0, 48.0, 36.0, FISHEYE, tuple(numbers.values()))
    columns, rows = np.meshgrid((np.arange(WIDTH) + 0.5 - 48) / 60, (np.arange(HEIGHT) + 0.5 - 36) / 60)
    table = np.linspace(1e-9, 3, 200_001)
    radius = np.hypot(columns, rows)
    straight = np.interp(radius, fisheye(table, 0 * table, **numbers)[0], table) / radius
    taken = (
        torch.from_numpy(pattern(columns * straight, rows * straight)).round().clamp(0, 255).byte().expand(3, -1, -1)
    )
    wanted = pattern(columns, rows)
    found = lens.undistort(taken)[0].double().numpy()
    assert np.abs(found - wanted).mean() < 1.2 and np.abs(found - wanted).max() < 8
    assert np.abs(taken[0].double().numpy() - wanted).mean() > 10


def test_where_a_polynomial_turns_back_the_picture_is_not_seen_twice():
    """r (1 - 0.5 r^2) is largest at sqrt(2/3)."""
    lens = Lens(WIDTH, HEIGHT, 40.0, 40.0, 48.0, 36.0, distortion=(-0.5,))
    assert lens.fold == pytest.approx(math.sqrt(2 / 3), abs=1e-3)
    radii = torch.linspace(0, 2, 500, dtype=torch.float64)
    seen = lens.distorted(torch.stack([radii, 0 * radii], -1))[:, 0]
    assert (seen.diff() > 0).all()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"fx": float("nan")}, "fx = nan"),
        ({"cy": float("inf")}, "cy = inf"),
        ({"distortion": (0.1, float("nan"))}, "distortion 2 = nan"),
        ({"fx": 0.04 * WIDTH}, "0.05 to 50 widths"),
        ({"fy": 51.0 * WIDTH}, "0.05 to 50 widths"),
        ({"fx": -70.0}, "0.05 to 50 widths"),
        ({"cx": 30.0 * WIDTH}, "principal point"),
        ({"distortion": (-100.0,)}, "folds or tears"),
        ({"distortion": (1e5,)}, "folds or tears"),
        ({"width": 0, "height": 0}, "0x0 pixels; positive sizes"),
        ({"width": -96, "height": -72}, "-96x-72 pixels; positive sizes"),
    ],
)
def test_no_lens_has_such_numbers(parts, words):
    usual = {"width": WIDTH, "height": HEIGHT, "fx": 70.0, "fy": 70.0, "cx": 48.0, "cy": 36.0}
    with pytest.raises(RejectedError, match=words):
        Lens(**{**usual, **parts}).for_size(HEIGHT, WIDTH)


@pytest.mark.parametrize("focal", [0.051 * WIDTH, 49.9 * WIDTH])
def test_lenses_at_the_ends_of_the_range_are_read(focal):
    lens = Lens(2 * WIDTH, 2 * HEIGHT, 2 * focal, 2 * focal, float(WIDTH), float(HEIGHT)).for_size(HEIGHT, WIDTH)
    assert lens.fx == pytest.approx(focal)
