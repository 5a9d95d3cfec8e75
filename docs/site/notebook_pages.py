"""Tutorials: the notebooks of ``notebooks/``, run from top to bottom and turned into pages with what they printed and drew.

Notebooks are committed without results. A page is made anew when its notebook, the code, the networks of this project
or a report has changed; otherwise that of the last build is taken. A cell that fails ends the build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

SECONDS = 900
"""For one notebook."""
LARGE = 100_000
"""Characters of HTML that are a page of their own (the viewer) and no part of this one."""
# Bars that overwrite themselves, and a widget that is not needed, say nothing on a page.
QUIET = {
    "TQDM_DISABLE": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}


def page(notebook: Path, root: Path, cache: Path) -> Path:
    """Folder with ``page.md`` and the pictures beside it."""
    folder = cache / f"{notebook.stem}-{_fingerprint(notebook, root)}"
    if not folder.is_dir():
        made = cache / f"{folder.name}.{os.getpid()}"
        made.mkdir(parents=True)
        _write(notebook, root, made)
        made.rename(folder)
        for older in cache.glob(f"{notebook.stem}-*"):
            if older != folder:
                shutil.rmtree(older)
    return folder


def _write(notebook: Path, root: Path, folder: Path) -> None:
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    told = nbformat.read(notebook, as_version=4)
    client = NotebookClient(told, timeout=SECONDS, resources={"metadata": {"path": str(root)}})
    client.execute(env={**os.environ, **QUIET})
    for output in (output for cell in told.cells if cell.cell_type == "code" for output in cell.outputs):
        if len(output.get("data", {}).get("text/html", "")) > LARGE:
            output["data"] = {"text/plain": "(the viewer, a page of its own)"}
    exporter = MarkdownExporter()
    text, resources = exporter.from_notebook_node(told, {"output_files_dir": f"{notebook.stem}_files"})
    begin, _, rest = text.partition("\n\n")
    where = f"*This page is the notebook `notebooks/{notebook.name}`, run when the site was built.*"
    (folder / "page.md").write_text(f"{begin}\n\n{where}\n\n{rest}", encoding="utf-8")
    for name, content in resources["outputs"].items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def _fingerprint(notebook: Path, root: Path) -> str:
    """Of all that the page depends on: the notebook, the code, the networks of this project, and reports."""
    digest = hashlib.sha256(notebook.read_bytes())
    for pattern in ("src/**/*.py", "examples/**/*.py", "data/06_models/*/*.json", "reports/*.json"):
        for path in sorted(root.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
