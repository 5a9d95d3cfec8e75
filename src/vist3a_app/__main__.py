"""``vist3a COMMAND`` for people; without a command, the options of ``kedro run``: ``vist3a --pipelines=score``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

HELP = {"--help", "-h"}


def main() -> None:
    """Entry point."""
    here, words = Path.cwd(), sys.argv[1:]
    if not (here / "pyproject.toml").is_file():
        # Away from a project Kedro tells which of its own files say how it logs.
        logging.disable(logging.INFO)
    from kedro.framework.startup import bootstrap_project
    from kedro.utils import is_kedro_project

    from vist3a_app.cli import program, run
    from vist3a_app.commands.runs import refuse_without_project

    there = is_kedro_project(here)
    if there:
        bootstrap_project(here)
    if words and (words[0] in HELP or not words[0].startswith("-")):
        program(words, prog_name="vist3a", standalone_mode=True)
    if not there and not HELP & set(words):
        refuse_without_project(here)
    # By this name Kedro looks up what a file given by --config says.
    run(words, prog_name="run", standalone_mode=True)


if __name__ == "__main__":
    main()
