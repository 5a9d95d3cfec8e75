"""Commands that run pipelines of the project in the working directory: generate, layers, stitch, rehearse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from kedro.framework.cli.utils import _split_params

from vist3a_app.configuration import PAIR, PRESET

Command = TypeVar("Command", bound=Callable[..., Any])
Parameters = dict[str, Any]
EMPTIED = {"prompts_file"}
"""Parameters that a command empties: the prompt that is typed comes before a file that the configuration names."""


def layered(command: Command) -> Command:
    """Options that every run takes: which networks, whose settings, where, and changes of single parameters."""
    # The last decorator comes first in the help: reversed, options are listed as they stand here.
    for option in reversed(
        (
            click.option(
                "--pair", metavar="G+N", help="Generator and 3D network, as wan+vggt. Default: the embedded ones."
            ),
            click.option("--preset", metavar="NAME", help="Settings of the paper or of its code: paper, released."),
            click.option("--env", metavar="NAME", help="Overlay in conf/."),
            click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, or auto."),
            click.option("--commercial", is_flag=True, help="Refuse weights whose licence forbids commercial use."),
            click.option("--params", default="", callback=_split_params, metavar="K=V,...", help="As of kedro run."),
        )
    ):
        command = option(command)
    return command


def refuse_without_project(here: Path) -> None:
    """SystemExit with a sentence that says where a run is possible."""
    from kedro.utils import find_kedro_project

    above = find_kedro_project(here)
    where = f"the checkout {above}" if above is not None else "a checkout of vist3a"
    raise SystemExit(f"Error: {here} is no project (it has no pyproject.toml with [tool.kedro]); run this in {where}")


def start(pipelines: list[str], given: Parameters, options: Parameters, wanted: str | None = None) -> Any:
    """Run the pipelines with what was given over the options' own parameters; the dataset ``wanted`` of the catalog afterwards.

    Values of ``given`` that are None were not given, but for those of :data:`EMPTIED`.
    """
    from kedro.framework.session import KedroSession
    from kedro.utils import is_kedro_project

    from vist3a import presets

    if not is_kedro_project(Path.cwd()):
        refuse_without_project(Path.cwd())
    parameters: Parameters = {key: options[key] for key in (PAIR, PRESET) if options[key] is not None}
    networks: Parameters = {"device": options["device"]} if options["device"] is not None else {}
    if options["commercial"]:
        networks["commercial"] = True
    given = {
        group: {k: v for k, v in values.items() if v is not None or k in EMPTIED} for group, values in given.items()
    }
    # What comes later lies over what comes before.
    layers = (parameters, {"networks": networks}, given, options["params"])
    merged: Parameters = {}
    for layer in layers:
        merged = presets.merged(merged, layer)
    # An empty group says nothing, and is no change worth a record.
    merged = {key: value for key, value in merged.items() if value != {}}
    session: Any
    with KedroSession.create(env=options["env"], runtime_params=merged) as session:
        session.run(pipeline_names=pipelines)
        return None if wanted is None else session.load_context().catalog.load(wanted)


@click.command()
@click.argument("prompt")
@click.option("--seed", type=int, help="Another seed, another scene.")
@click.option("--steps", type=int, help="Denoising steps.")
@click.option("--guidance", type=float, help="How closely the prompt is followed.")
@click.option("--image", type=click.Path(exists=True), help="For generators that start from a picture.")
@layered
def generate(
    prompt: str, seed: int | None, steps: int | None, guidance: float | None, image: str | None, **options: Any
) -> None:
    """Make a scene from PROMPT: Gaussians, points, depth, cameras, video and a viewer in a folder of its own."""
    given = {"prompt": prompt, "seed": seed, "steps": steps, "guidance": guidance, "image": image}
    start(["generate"], {"generate": given | {"prompts_file": None}}, options)
    click.echo("vist3a view  # shows it in the browser")


@click.command()
@click.option(
    "--clips", type=click.Path(exists=True, file_okay=False), help="Videos and folders of images of static scenes."
)
@layered
def layers(clips: str | None, **options: Any) -> None:
    """Does the 3D network fit the generator, and where? A table of all layers, the best first."""
    click.echo(
        layer_table(start(["curate", "extract", "score"], {"curate": {"source": clips}}, options, "score_report"))
    )


def layer_table(report: Parameters) -> str:
    """The ranking of a score report as text."""
    rows = [f"{'layer':<24}{'held-out R2':>12}  {'interval':<16}{'CKA':>6}"]
    for name in report["ranking"]:
        point = report["points"][name]
        note = "" if point["complete"] else "  (heads read features from before it: no entry alone)"
        mark = "  <- chosen" if name == report["chosen"] else note
        interval = f"{point['r2_low']:.3f} to {point['r2_high']:.3f}"
        rows.append(f"{name:<24}{point['r2_heldout']:>12.3f}  {interval:<16}{point['cka']:>6.2f}{mark}")
    return "\n".join(rows)


@click.command()
@click.option(
    "--clips", type=click.Path(exists=True, file_okay=False), help="Videos and folders of images of static scenes."
)
@click.option("--prompts", type=click.Path(exists=True, dir_okay=False), help="To align on: one prompt per line.")
@layered
def stitch(clips: str | None, prompts: str | None, **options: Any) -> None:
    """Run the whole chain: curate clips, find the layer, stitch, distill, align, evaluate."""
    given: dict[str, Parameters] = {"curate": {"source": clips}}
    if prompts is not None:
        given |= {"align": {"prompts_file": prompts}, "evaluate": {"prompts_file": prompts}}
    start(["stitch"], given, options)


@click.command()
@layered
def rehearse(**options: Any) -> None:
    """Try every stage of a pairing with random weights of full size: does it fit this GPU, how long does it take?"""
    start(["rehearse"], {}, options)
