"""What the documentation site is made with: tables of reports, readability, links, docstrings."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "docs" / "site"), str(REPOSITORY / ".ci")]
import docstrings  # noqa: E402  isort: skip
import documented_commands  # noqa: E402  isort: skip
import hooks  # noqa: E402  isort: skip
import readability  # noqa: E402  isort: skip
import report_tables  # noqa: E402  isort: skip

REPORTS = REPOSITORY / "reports"


def test_the_grade_is_that_of_the_formula() -> None:
    """Six words of one syllable; and eight words whose syllables are counted by hand."""
    assert readability.grade("The cat sat on the mat.") == pytest.approx(0.39 * 6 + 11.8 - 15.59)
    text = "Everybody remembers the beautiful melody. We like it."
    # 5 + 3 + 1 + 3 + 3, and 1 + 1 + 1 syllables.
    assert readability.grade(text) == pytest.approx(0.39 * 8 / 2 + 11.8 * 18 / 8 - 15.59)


def test_only_prose_is_graded() -> None:
    plain = "A cat sat here. It was red."
    code, table = "```bash\nlong unintelligible commands\n```\n", "| table | of |\n| --- | --- |\n"
    around = f"# A title of it\n\n{code}\n{table}\n{plain}\n\n![picture](x.png)\n"
    assert readability.grade(around) == readability.grade(plain)
    assert readability.prose("See [the docs](a/b.md) and `some code`.") == "See the docs and it."
    with pytest.raises(ValueError, match="no sentence"):
        readability.grade("```\ncode\n```")


@pytest.mark.parametrize(
    "figure, wanted",
    [
        ({"value": 1.234, "low": 1.0, "high": 2.0}, "1.2 dB (1.0 to 2.0)"),
        ({"mean": 1.234, "low": 1.0, "high": 2.0, "median": 9.0}, "1.2 dB (1.0 to 2.0)"),
        (
            {"before": 9.0, "after": 7.0, "difference": -2.0, "difference_low": -3.0, "difference_high": -1.0},
            "-2.0 dB (-3.0 to -1.0)",
        ),
        ({"ratio": 1.5, "ratio_low": 1.0, "ratio_high": 2.0}, "1.5 dB (1.0 to 2.0)"),
    ],
)
def test_a_figure_is_shown_with_its_interval(figure: dict[str, float], wanted: str) -> None:
    assert report_tables.span(figure, 1, " dB") == wanted
    with pytest.raises(KeyError):
        report_tables.span({key: value for key, value in figure.items() if "low" not in key}, 1)


def test_pages_show_the_figures_of_the_reports() -> None:
    distill, benchmark = (
        json.loads((REPORTS / name).read_text()) for name in ("distill.json", "gpu/benchmarks/generate.json")
    )
    page = report_tables.this_commit(REPORTS)
    assert (
        f"| after distillation | {distill['after']['depth_absrel']:.3f} ({distill['median']['after']['depth_absrel']:.3f})"
        in page
    )
    assert f"Ours: {benchmark['ours']['total']:.1f} s" in report_tables.on_a_gpu(REPORTS)


def test_a_stage_that_was_not_rehearsed_is_said_to_be_so(tmp_path: Path) -> None:
    folder = tmp_path / "gpu" / "benchmarks"
    folder.mkdir(parents=True)
    for name in report_tables.REHEARSED:
        told = json.loads((REPORTS / "gpu" / "benchmarks" / f"rehearse_{name}.json").read_text())
        told["stages"].pop("align", None)
        (folder / f"rehearse_{name}.json").write_text(json.dumps(told))
    assert all(row.split(" | ")[4] == "not run" for row in report_tables.memory(tmp_path).splitlines()[2:])


def test_links_of_texts_at_the_root_become_those_of_the_site() -> None:
    text = "[a](docs/how_to/clips.md#words) [b](SECURITY.md) [c](https://example.org/x.md) [d](reports/claims.md)"
    turned = (
        "[a](../how_to/clips.md#words) [b](../project/security.md) [c](https://example.org/x.md) [d](reports/claims.md)"
    )
    assert hooks.with_links_of_the_site(text) == turned


def test_every_text_and_report_has_a_page() -> None:
    pages = dict(hooks.generated())
    assert {*hooks.TEXTS.values(), *(f"results/{name}.md" for name in hooks.STUDIES)} <= pages.keys()
    assert all(text.startswith("# ") for text in pages.values())
    assert "### " not in pages["reference/command_line.md"] and "## vist3a export" in pages["reference/command_line.md"]
    assert "| `vggt-1b` | `facebook/VGGT-1B` | no |" in pages["reference/weights.md"]


def test_marks_of_blocks_become_titles() -> None:
    assert hooks.without_marks("```bash gpu\nx\n```\n") == '```bash title="needs a GPU"\nx\n```\n'
    assert hooks.without_marks("```bash\nx\n```\n") == "```bash\nx\n```\n"
    assert hooks.TITLES.keys() == documented_commands.MARKS.keys()


def test_docstrings_become_markdown() -> None:
    text = "Do :meth:`~a.b.go` as :class:`a.C`::\n\n    x\n\nExample:\n    >>> go()\n"
    assert docstrings.as_markdown(text) == "Do `go` as `a.C`:\n\n    x\n\nExamples:\n    >>> go()\n"
    rule = "=========  ===="
    table = f"{rule}\n:meth:`a`  one\n           more\nb          two\n{rule}\n"
    assert docstrings.as_markdown(table) == "| | |\n|---|---|\n| `a` | one more |\n| b | two |\n"


@pytest.mark.long
def test_the_site_builds_without_warnings_and_its_pages_ask_for_nothing_else(tmp_path: Path) -> None:
    from browser import chromium

    if not (REPOSITORY / "data" / "06_models" / "embedded" / "generator").is_dir():
        pytest.skip("the embedded networks are not here; `make setup` fetches them from the repository")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [
        path.name for path in tmp_path.rglob("*.html") if re.search("<p>```|:(?:meth|func|class):", path.read_text())
    ] == []
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = f"http://127.0.0.1:{server.server_address[1]}/"
        page = browser.page()
        for name in ("index", "concepts/method", "tutorials/first_scene", "reference/python", "results/claims"):
            page.open(f"{own}{name}.html")
            at = f"location.href === '{own}{name}.html' && document.readyState === 'complete'"
            page.wait_for(f"{at} && document.querySelector('h1')")
        assert [asked for asked in page.requests if not asked.startswith((own, "data:"))] == []
        assert page.errors == []
        server.shutdown()
