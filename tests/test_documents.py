"""What README, the pages of docs and the texts beside README name exists: commands, parameters, files, messages."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / ".ci"))
import command_checks  # noqa: E402  isort: skip
import documented_commands  # noqa: E402  isort: skip

DOCUMENTS = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in documented_commands.DOCUMENTS}
ALL = "\n".join(DOCUMENTS.values())
COMMANDS = documented_commands.documented()
TEXTS = [command.text for command in COMMANDS]
SHELL = [text for text, command in zip(TEXTS, COMMANDS, strict=True) if not command.python]


@pytest.mark.parametrize("command", sorted(set(SHELL)))
def test_commands_name_what_exists(command: str) -> None:
    assert list(command_checks.problems(command)) == []


@pytest.mark.parametrize(
    "command, problem",
    [
        ("make nothing", "make has no target nothing"),
        ("kedro run --pipelines=stich", "there is no pipeline stich"),
        ("kedro run --pipelines=score --params=score.points=3", "there is no parameter score.points"),
        ("kedro run --params=networks.generator.famili=wan", "there is no parameter networks.generator.famili"),
        ("kedro run --runners=x", "kedro run has no option --runners"),
        ("kedro run --env=gpus", "there is no conf/gpus"),
        ("vist3a paint", "vist3a has no command paint"),
        ("vist3a generate x --sed 1", "vist3a generate has no option --sed"),
        ("python benchmarks/nothing.py", "benchmarks/nothing.py is no file"),
        ("A=1 sbatch --nodes=4 deploy/slurm.sh --pipeline=align --param=x=1", "kedro run has no option --param"),
        ("torchrun --standalone -m vist3a_app --pipelines=aline", "there is no pipeline aline"),
    ],
)
def test_what_does_not_exist_is_said(command: str, problem: str) -> None:
    assert list(command_checks.problems(command)) == [problem]


KEYS = set(
    re.findall(r"(?<![/\w.])((?:curate|extract|score|distill|generate|align|evaluate|workers)\.[a-z_.]+)(?==|`)", ALL)
)
TAGS = {"workers.hosts"}
"""Of runs; no parameters."""
FILES = ("json", "png", "html", "parquet", "yml")


@pytest.mark.parametrize("key", sorted(key for key in KEYS - TAGS if not key.endswith(FILES)))
def test_parameters_exist(key: str) -> None:
    assert command_checks.is_parameter(key)


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if "/" not in name])
def test_linked_files_exist(name: str) -> None:
    """Of the texts at the root, which are read where the repository is; the site's own links are checked by its build."""
    for link in re.findall(r"\]\(([^)#:]+)\)", DOCUMENTS[name]):
        assert (REPOSITORY / link).is_file(), link


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:benchmarks|deploy|conf/base|src)/[\w/]+\.\w+", ALL))))
def test_named_files_exist(path: str) -> None:
    assert (REPOSITORY / path).is_file()


def test_every_benchmark_is_named() -> None:
    assert [path.name for path in (REPOSITORY / "benchmarks").glob("*.py") if path.name not in ALL] == []


def test_every_command_of_the_documents_is_found() -> None:
    assert {"make stitch", "dvc repro", "make ui", "kedro run --pipelines=claims", "kedro --help"} <= set(TEXTS)
    assert any(text.startswith("curl http://127.0.0.1:5001/invocations -H") and "prompt" in text for text in TEXTS)
    assert "kedro run --pipelines=curate --params=curate.order=similarity" in TEXTS
    assert any(text.startswith("import vist3a") for text in TEXTS)
    with pytest.raises(ValueError, match=r"--surprise=1`: an option of which command"):
        list(documented_commands.commands_in("Say `--surprise=1` for more."))


def test_marks_keep_a_block_from_being_run() -> None:
    (marked,) = documented_commands.commands_in("```bash gpu\nmake stitch\n```\n")
    assert marked.text == "make stitch" and marked.not_run == "a GPU"
    (plain,) = documented_commands.commands_in("```bash\nmake stitch\n```\n")
    assert not plain.not_run
    with pytest.raises(ValueError, match="```bash moon: allowed marks are gpu, cluster, wheel"):
        list(documented_commands.commands_in("```bash moon\nmake stitch\n```\n"))


def test_what_is_said_of_commands_is_of_ones_that_are_there() -> None:
    """No reason, value or server outlives its command, and no placeholder is left in what is run."""
    for table in (documented_commands.NOT_RUN, documented_commands.SERVERS):
        for start in table:
            assert any(text.startswith(start) for text in TEXTS), start
    for placeholder in documented_commands.VALUES:
        assert any(placeholder in text for text in TEXTS), placeholder
    for command in COMMANDS:
        if not command.not_run and not command.python:
            assert not re.search(r"/path/to|[<>]|\b[A-Z]{4,}\b(?!=)", command.to_run), command.to_run
    assert documented_commands.DOCUMENTED_PORT in ALL


def messages() -> str:
    """All texts of the code, those of one f-string joined."""
    found = []
    for path in [*(REPOSITORY / "src").rglob("*.py"), REPOSITORY / "Makefile"]:
        if path.name == "Makefile":
            found.append(path.read_text())
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else "\0" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


EXPLAINED = [
    text
    for line in re.findall(r"^- (\*\*`.*?)(?:: |$)", DOCUMENTS["docs/how_to/troubleshooting.md"], re.MULTILINE)
    for text in re.findall(r"\*\*`([^`]+)`", line)
]
OTHERS = ("Input should be greater than", "allowed: align, alignment_study,")
"""Said by pydantic; and names of pipelines, as the project has them."""


def test_messages_that_are_explained_are_those_of_the_code() -> None:
    assert len(EXPLAINED) > 15
    said = messages()
    parts = [part.strip(" ';") for text in EXPLAINED for part in re.split(r"…|'…'", text)]
    assert [part for part in parts if len(part) > 3 and not part.startswith(OTHERS) and part not in said] == []
