"""What MkDocs calls: adds to the pages of ``docs/`` those that are made from the repository.

Pages from reports, notebooks, settings and commands are made in memory. Texts that belong at the root of the repository
(CONTRIBUTING.md and its like) are shown as pages too, with their links turned to the site's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "src")]

import notebook_pages  # noqa: E402
import reference_pages  # noqa: E402
import report_tables  # noqa: E402

REPORTS, CACHE = ROOT / "reports", ROOT / "build" / "tutorials"
STUDIES = ("claims", "alignment_study", "layer_study", "embedded")
"""Reports that are pages already."""
TEXTS = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CONVENTIONS.md": "project/conventions.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "CODE_OF_CONDUCT.md": "project/code_of_conduct.md",
    "NOTICE.md": "project/notice.md",
}
"""Texts of the repository's root, and their pages."""
TITLES = {"gpu": "needs a GPU", "cluster": "needs a cluster", "wheel": "needs no checkout"}
"""What is said above a marked block."""


def generated() -> Iterator[tuple[str, str]]:
    """Addresses and contents of the pages made of texts."""
    yield "results/this_commit.md", report_tables.this_commit(REPORTS)
    yield "results/gpu.md", report_tables.on_a_gpu(REPORTS)
    for name in STUDIES:
        yield f"results/{name}.md", (REPORTS / f"{name}.md").read_text(encoding="utf-8")
    yield "reference/command_line.md", reference_pages.command_line()
    yield "reference/parameters.md", reference_pages.parameters(ROOT / "conf")
    yield "reference/weights.md", reference_pages.weights(ROOT / "src" / "vist3a" / "weights" / "weights.yml")
    for name, address in TEXTS.items():
        yield address, with_links_of_the_site((ROOT / name).read_text(encoding="utf-8"))


def with_links_of_the_site(text: str) -> str:
    """Links from a file at the root (``docs/library.md``, ``SECURITY.md``) as they read from a page one folder down."""

    def turned(found: re.Match[str]) -> str:
        place, anchor = found[1], found[2] or ""
        if place.startswith("docs/"):
            return f"](../{place.removeprefix('docs/')}{anchor})"
        return f"](../{TEXTS[place]}{anchor})" if place in TEXTS else found[0]

    return re.sub(r"\]\(([\w./-]+)(#[\w-]+)?\)", turned, text)


def without_marks(text: str) -> str:
    """Blocks that are marked for ``.ci/documented_commands.py`` with a title instead, as a reader needs to know it too."""
    return re.sub(
        r"^```(\w+) (\w+)$", lambda found: f'```{found[1]} title="{TITLES[found[2]]}"', text, flags=re.MULTILINE
    )


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Every page before it becomes HTML."""
    return without_marks(markdown)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and their pictures."""
    from mkdocs.structure.files import File

    for address, text in generated():
        files.append(File.generated(config, address, content=text))
    for picture in REPORTS.glob("*.png"):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        folder = notebook_pages.page(notebook, ROOT, CACHE)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{notebook.stem}.md" if path.name == "page.md" else path.relative_to(folder).as_posix()
            files.append(File.generated(config, f"tutorials/{name}", abs_src_path=str(path)))
    return files
