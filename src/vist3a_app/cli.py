"""``kedro run`` of this project: what a user did wrong ends in its sentence, what a programmer did wrong in a traceback."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from copy import copy
from difflib import get_close_matches
from functools import wraps
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from vist3a_app.commands.doctor import doctor
from vist3a_app.commands.runs import generate, layers, rehearse, stitch
from vist3a_app.commands.scenes import export, reconstruct, serve, view
from vist3a_app.sentences import sentence

TRACEBACK = "VIST3A_TRACEBACK"


def _check_pipelines(names: Iterable[str]) -> None:
    """ValueError for a pipeline that there is not; Kedro's own does not say which there are."""
    from kedro.framework.project import pipelines

    for name in names:
        if name not in pipelines:
            near = get_close_matches(name, pipelines, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(sorted(known for known in pipelines if not known.startswith("__")))
            raise ValueError(f"--pipelines: {name!r}; allowed: {known}{hint}")


def _spoken(command: click.Command) -> click.Command:
    """The command, whose users' mistakes end in one sentence and exit status 1."""
    call = command.callback
    assert call is not None

    @wraps(call)
    def callback(*arguments: Any, **options: Any) -> Any:
        # Kedro's older word for one pipeline, which it warns about at length.
        if options.get("pipeline") and not options.get("pipelines"):
            options |= {"pipeline": None, "pipelines": [options["pipeline"]]}
        wanted = os.environ.get(TRACEBACK, "0") not in {"", "0"}
        # What Kedro logs of wrong parameters, in many lines, is said again in the sentence.
        logging.getLogger("kedro.validation.parameter_validator").disabled = not wanted
        try:
            _check_pipelines(options.get("pipelines") or ())
            return call(*arguments, **options)
        except Exception as error:
            told = sentence(error)
            if told is None or wanted:
                raise
            raise click.ClickException(told) from error

    spoken = copy(command)
    spoken.callback = callback
    spoken.epilog = f"{TRACEBACK}=1 in the environment: where in the program a refusal comes from."
    return spoken


run = _spoken(kedro_run)


@click.group(name="vist3a")
def cli() -> None:
    """Commands of this project; Kedro looks for this name."""


cli.add_command(run)


@click.group(name="vist3a", epilog="Options before any command are those of `kedro run`: vist3a --pipelines=score.")
def program() -> None:
    """Text to 3D by stitching a 3D network to a video generator."""


for _command in (generate, reconstruct, layers, stitch, rehearse, export, view, serve, doctor):
    program.add_command(_spoken(_command))
program.add_command(run)
