"""Reference pages made from what the program itself says: its commands, its parameters and the weights that it knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def command_line() -> str:
    """``vist3a`` and each of its commands, as ``--help`` prints them."""
    import click

    from vist3a_app.cli import program

    whole = click.Context(program, info_name="vist3a")
    parts = [
        "# Command line\n\nMade from `vist3a --help`. Whatever `kedro run` takes, `vist3a` takes before a command, as in "
        "`vist3a --pipelines=score`.\n",
        f"```text\n{program.get_help(whole)}\n```\n",
    ]
    for name in program.list_commands(whole):
        command = program.get_command(whole, name)
        if command is None or name == "run":  # Kedro's own, described by Kedro
            continue
        help_text = command.get_help(click.Context(command, info_name=name, parent=whole))
        parts.append(f"## vist3a {name}\n\n```text\n{help_text}\n```\n")
    return "\n".join(parts)


def parameters(conf: Path) -> str:
    """The files of ``conf/base/parameters``, which hold every knob with its default."""
    parts = [
        "# Parameters\n\nMade from `conf/base/parameters`. Every knob is typed: an unknown key, or a value out of bounds, is "
        "refused before the work starts.\nChange one with `--params=GROUP.KEY=VALUE`, or in a file of the same name under "
        "`conf/local/parameters`.\n"
    ]
    for path in sorted((conf / "base" / "parameters").glob("*.yml")):
        parts.append(f"## {path.stem}\n\n```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```\n")
    return "\n".join(parts)


def weights(source: Path) -> str:
    """Public weights, where they come from and under which license, from ``weights.yml``."""
    known: Mapping[str, Mapping[str, Mapping[str, Any]]] = yaml.safe_load(source.read_text(encoding="utf-8"))
    allowed = {True: "yes", False: "no", None: "not stated"}
    parts = [
        "# Weights and licenses\n\nMade from `src/vist3a/weights/weights.yml`. Read a license itself before you rely on it. "
        "None of these files is part of this repository, and none was\nloaded for the results here: see [What is real here]"
        "(../concepts/what_is_real.md). A run that uses weights without commercial use says so,\nand with "
        "`networks.commercial=true` they are refused.\n"
    ]
    titles = {"generators": "Video generators", "weights": "3D networks", "rewards": "Reward models"}
    for group, title in titles.items():
        parts += [f"## {title}\n", "| name | repository | commercial use | license |\n| --- | --- | --- | --- |"]
        parts += [
            f"| `{name}` | `{entry['repo']}` | {allowed[entry['commercial']]} | {entry['licence']} |"
            for name, entry in known[group].items()
        ]
        parts.append("")
    return "\n".join(parts)
