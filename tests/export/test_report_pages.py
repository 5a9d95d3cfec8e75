"""Pages of the layer search: complete in themselves, every number in its place, nothing that comes from a name executes."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

from vist3a_app.pages.charts import layer_curve, png
from vist3a_app.pages.score_page import score_page


def point(kind: str = "encoder", complete: bool = True, r2: float = 0.5, index: int = 0) -> dict:
    return {
        "index": index,
        "kind": kind,
        "complete": complete,
        "ridge": 1e-4,
        "mse_heldout": 0.25,
        "r2_heldout": r2,
        "r2_low": r2 - 0.1,
        "r2_high": r2 + 0.1,
        "r2_border": 0.4321,
        "r2_centre": None,
        "r2_frames": [0.125, None],
        "r2_fit": 0.75,
        "r2_heldout_conv": 0.3,
        "cka": 0.2,
    }


REPORT = {
    "points": {"encoder.00": point(), "a<b>&c": point("aggregator", False, 0.7, 1)},
    "ranking": ["a<b>&c", "encoder.00"],
    "scenes": 5,
    "chosen": "encoder.00",
    "reason": "highest held-out R^2",
    "lead": {"over": "a<b>&c", "r2": 0.05, "low": 0.01, "high": 0.09},
    "bias": "position",
    "functional_error": {"encoder.00": {"depth_absrel": 0.0625}},
}


class Seen(HTMLParser):
    """Tags with what they refer to, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        self.sources += [value for key, value in attrs if key in {"src", "href"} and value]

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] in {"td", "th"}:
            self.cells.append(data)


def test_the_page_needs_nothing_else() -> None:
    picture = png(layer_curve(REPORT))
    page = Seen()
    page.feed(score_page(REPORT, picture))
    assert page.open == []
    assert "script" not in page.tags
    assert "b" in page.tags and page.tags.count("b") == 1  # the chosen point, not the name of the other
    (source,) = page.sources
    assert base64.b64decode(re.sub(r"^data:image/png;base64,", "", source)) == picture
    for cell in ("encoder.00", "a<b>&c", "0.5", "0.4 to 0.6", "0.4321", "0.125", "-", "0.0625", "depth_absrel"):
        assert cell in page.cells, cell


def test_equal_reports_give_equal_bytes() -> None:
    one, other = (png(layer_curve(REPORT)) for _ in range(2))
    assert one == other
    assert one.startswith(b"\x89PNG")


def test_every_kind_of_point_has_its_name_and_its_color() -> None:
    """Kinds are the network's own; the legend has those of the report and no others."""
    from matplotlib.collections import PathCollection
    from matplotlib.colors import to_hex

    kinds = ("patches", "decoder", "patches", "reference")
    points = {f"{kind}.{i}": point(kind, index=i) for i, kind in enumerate(kinds)}
    top = layer_curve({**REPORT, "points": points, "chosen": "decoder.1"}).axes[0]
    handles, labels = top.get_legend_handles_labels()
    legend = {
        label.removesuffix(", 95 % interval over scenes"): to_hex(handle.get_facecolor()[0])
        for handle, label in zip(handles, labels, strict=True)
        if label.endswith("interval over scenes")
    }
    assert list(legend) == ["patches", "decoder", "reference"]
    scatters = [mark for mark in top.collections if isinstance(mark, PathCollection) and len(mark.get_offsets())]
    marks = [to_hex(mark.get_facecolor()[0]) for mark in scatters]
    assert [legend[kind] for kind in kinds] == marks[: len(kinds)]
    assert len(set(legend.values())) == 3


def test_a_page_without_functional_errors_or_rivals() -> None:
    assert "Not measured." in score_page({**REPORT, "functional_error": {}, "lead": None}, b"")
