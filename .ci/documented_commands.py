"""Runs every command that README.md, the pages of ``docs`` and CONVENTIONS.md name, in a fresh clone (``make documented``).

Commands are the lines of fenced shell blocks, fenced Python blocks, and inline code that begins with a program or an option of
ours; so a new sentence cannot escape. What cannot run everywhere is marked behind the language of its block (``bash gpu``, see
``MARKS``), or is in ``NOT_RUN`` with its reason; what stands for something of the reader's is in ``VALUES``. Servers are started,
asked, and stopped. At the sizes of ``conf/smoke``, unless ``--full`` is given. Prints a table: command, exit status, seconds.
Ends with 1 if a command failed.

With ``--parse`` nothing is run: programs, targets, pipelines, parameters and options of all commands must exist, and Python must
compile (``make docs``, seconds).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    *sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md")),
    "CONVENTIONS.md",
    "CONTRIBUTING.md",
)
PROGRAMS = (
    "make", "kedro", "dvc", "python", "pip", "torchrun", "mlflow", "curl", "source", "git", "pytest", "npm", "vist3a",
    "lint-imports",
)  # fmt: skip
FULL_SIZE, EXTRA, NPM = "a GPU: networks of full size", "an extra, which is a download", "downloads from npm"
MARKS = {
    "gpu": "a GPU",
    "cluster": "a cluster",
    "wheel": "away from a checkout: tests/test_wheel.py does so",
}
"""Words behind the language of a block whose commands are parsed only, and what they need."""
# By how a command begins.
NOT_RUN = {
    "make setup PYTHON": "another Python than this environment has",
    "make test": "all checks; .ci/run does them",
    "make mutations": "hours",
    "make documented": "itself",
    "pytest -q": "all checks; .ci/run does them",
    "pre-commit install": "it changes the hooks of the clone's git alone",
    "make lock": "downloads the newest version of everything",
    "make newest": "downloads the newest versions of some packages",
    "make viewer": NPM,
    "npm ci": NPM,
    "pip install": EXTRA,
    "kedro viz": EXTRA,
    "kedro run --pipelines=rehearse": FULL_SIZE,
    "kedro run --pipelines=stitch --params=pair=wan+anysplat": FULL_SIZE,
    "python benchmarks/rehearse.py": FULL_SIZE,
    "vist3a rehearse": FULL_SIZE,
    "vist3a doctor --pair": FULL_SIZE + "; its status says so",
    "kedro run --env=gpu": "a GPU",
    "kedro run --pipelines=stitch --env=gpu": "a GPU",
    "kedro run --pipelines=pretrain --env=gpu": "a GPU",
    "torchrun": "a GPU for every process; tests/app/pipelines/test_align_killed.py starts two on a CPU",
    "pytest tests/parity": "needs recorded outputs of other programs",
}
# Options of the commands above, or spelled out there.
PARTS = (
    "--env=publish", "--pipeline=NAME", "--params", "--help", "--pair", "--to", "--target", "--scale", "--order", "--model",
    "--public", "--out", "--host",
)  # fmt: skip
# What a reader of DVC's own documentation asks next.
ALSO = ("dvc status", "dvc metrics show", "dvc params diff", "dvc plots diff")
SERVERS = {"make ui": ("PORT", "/health"), "make serve": ("SERVE_PORT", "/ping"),
           "vist3a serve": ("SERVE_PORT", "/ping"), "make view": ("VIEW_PORT", "/viewer.html"),
           "make scene": ("VIEW_PORT", "/viewer.html")}  # fmt: skip
CLIPS, PROMPTS = "clips", "prompts.txt"
VALUES = {"/path/to/folder": CLIPS, "FOLDER": CLIPS}
MAKE_CLIPS = f"""
import sys
from pathlib import Path
sys.path[:0] = ["tests/data"]
from clip_makers import save_moving
Path({CLIPS!r}).mkdir()
for seed in range(12):
    save_moving(Path({CLIPS!r}, f"clip{{seed}}.mp4"), seed)
"""
# The port that the documents say both servers of the generator listen on.
DOCUMENTED_PORT = "127.0.0.1:5001"
# What is asked of which of them, by the path; other servers are asked nothing.
ASKED = {
    "make serve": f"curl http://{DOCUMENTED_PORT}/invocations",
    "vist3a serve": f"curl http://{DOCUMENTED_PORT}/jobs",
}


@dataclass(frozen=True)
class Command:
    """A command of a document, or a program in Python."""

    text: str
    python: bool = False
    mark: str = ""

    @property
    def not_run(self) -> str:
        """What its mark needs, or the reason of the longest entry that the command begins with."""
        if self.mark:
            return MARKS[self.mark]
        return next(
            (NOT_RUN[start] for start in sorted(NOT_RUN, key=len, reverse=True) if self.text.startswith(start)), ""
        )

    @property
    def to_run(self) -> str:
        """With values in place of what is the reader's."""
        text = self.text
        for placeholder, value in VALUES.items():
            text = text.replace(placeholder, value)
        return text


def commands_in(text: str) -> Iterator[Command]:
    """The commands of a document in their order; ValueError for an option of no known command, or an unknown mark."""
    for found in re.finditer(r"^```(\w*)(?: (\w+))?\n(.*?)^```|`([^`]+)`", text, re.MULTILINE | re.DOTALL):
        language, mark, block, inline = found.groups()
        if mark and mark not in MARKS:
            raise ValueError(f"```{language} {mark}: allowed marks are {', '.join(MARKS)}")
        if inline is not None:
            yield from _inline(" ".join(inline.split()))
        elif language in {"bash", "sh", "shell", "console"}:
            for line in block.replace("\\\n", " ").splitlines():
                command = " ".join(re.sub(r"(^|\s)#.*", "", line).split())
                if command:
                    yield Command(command, mark=mark or "")
        elif language == "python" and "..." not in block:
            yield Command(block, python=True, mark=mark or "")


def _inline(code: str) -> Iterator[Command]:
    if "…" in code:
        return  # What a program says, with its values left out.
    if code.split(maxsplit=1)[0] in PROGRAMS and (" " in code or code in PROGRAMS[-2:]):
        yield Command(code)
    elif match := re.match(r"--params=(\w+)\.", code):
        yield Command(f"kedro run --pipelines={match[1]} {code}")
    elif code.startswith("--") and not code.startswith(PARTS):
        raise ValueError(f"`{code}`: an option of which command? Known are {', '.join(PARTS)} and --params=GROUP.KEY")


def documented() -> list[Command]:
    """All commands once, in the order in which they first appear."""
    texts = [(REPOSITORY / name).read_text(encoding="utf-8") for name in DOCUMENTS]
    return list(dict.fromkeys([*(command for text in texts for command in commands_in(text)), *map(Command, ALSO)]))


def start(command: Command, clone: Path, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, which Ctrl-C can end."""
    arguments = ["python", "-c", command.text] if command.python else ["bash", "-c", command.to_run]
    with log.open("ab") as output:
        return subprocess.Popen(
            arguments, cwd=clone, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def stop(process: subprocess.Popen[bytes], seconds: float = 60) -> bool:
    """Ctrl-C; whether the whole group ended by it."""
    os.killpg(process.pid, signal.SIGINT)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return False


def answers(process: subprocess.Popen[bytes], url: str, seconds: float) -> bool:
    """Whether the server of a process does before it ends or the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    return False


@contextmanager
def served(
    command: Command, clone: Path, environment: dict[str, str], log: Path, limit: float
) -> Iterator[tuple[str, int]]:
    """Start a server and ask it; the status by that, and its port. Afterwards it is stopped."""
    variable, page = next(SERVERS[start] for start in SERVERS if command.text.startswith(start))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(command, clone, {**environment, variable: str(port)}, log)
    answered = answers(process, f"http://127.0.0.1:{port}{page}", limit)
    yield ("0" if answered else "no answer"), port
    if process.poll() is None and not stop(process):
        raise TimeoutError(f"{command.text} does not end with Ctrl-C")


def run(command: Command, clone: Path, environment: dict[str, str], log: Path, limit: float) -> str:
    """Exit status of a command that ends."""
    process = start(command, clone, environment, log)
    try:
        return str(process.wait(limit))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"over {limit:.0f} s"


def prepare(clone: Path, environment: dict[str, str], existing: Path | None, full: bool) -> None:
    """A clone with its environment and networks, and a few clips and prompts of the reader's."""
    subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(clone)], check=True)
    for key, value in {"user.name": "reader", "user.email": "reader@example.invalid"}.items():
        subprocess.run(["git", "config", key, value], cwd=clone, check=True)
    if existing is not None:
        (clone / ".venv").symlink_to(existing.resolve())
        for mark in (".installed", ".weights"):
            (clone / ".venv" / mark).touch()
        subprocess.run(["dvc", "pull", "--quiet", "pretrain"], cwd=clone, env=environment, check=True)
    subprocess.run(["make", "setup"], cwd=clone, env=environment, check=True)
    if not full:
        shutil.copytree(clone / "conf" / "smoke" / "parameters", clone / "conf" / "local" / "parameters")
    (clone / PROMPTS).write_text("a red sphere on a wooden floor\n")
    subprocess.run(["python", "-c", MAKE_CLIPS], cwd=clone, env=environment, check=True)


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parse", action="store_true", help="run nothing; say what does not exist")
    parser.add_argument("--full", action="store_true", help="at the sizes of conf/base (hours)")
    parser.add_argument("--environment", type=Path, help="an environment to use in the clone; else it makes its own")
    parser.add_argument("--only", default="", help="commands that contain this text")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one command")
    chosen = parser.parse_args()
    if chosen.parse:
        return parse()
    # Where this was started with `&`, servers would ignore Ctrl-C as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = Path(tempfile.gettempdir(), f"documented_commands.{os.getpid()}.log")
    rows: list[tuple[str, str, float]] = []
    with tempfile.TemporaryDirectory(prefix="documented") as folder:
        clone = Path(folder, "vist3a")
        environment = {**os.environ, "PATH": f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        environment |= {
            "PYTHONPATH": str(clone / "src"),
            "DVC_NO_ANALYTICS": "1",
            "DO_NOT_TRACK": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        environment.pop("VIST3A_TRACKING", None)
        prepare(clone, environment, chosen.environment, chosen.full)
        waiting = [command for command in documented() if chosen.only in command.text]
        while waiting:
            command = waiting.pop(0)
            if command.not_run:
                rows.append((command.text, f"not run: {command.not_run}", 0.0))
                continue
            begun = time.monotonic()
            if any(command.text.startswith(start) for start in SERVERS):
                requests = [c for c in waiting if command.text in ASKED and c.text.startswith(ASKED[command.text])]
                waiting = [c for c in waiting if c not in requests]
                status = "0"
                try:
                    with served(command, clone, environment, log, chosen.limit) as (status, port):
                        for request in requests:
                            asked = request.text.replace(DOCUMENTED_PORT, f"127.0.0.1:{port}").replace(
                                "curl ", "curl -f ", 1
                            )
                            rows.append((request.text, run(Command(asked), clone, environment, log, chosen.limit), 0.0))
                except TimeoutError as error:
                    status = str(error)
            else:
                status = run(command, clone, environment, log, chosen.limit)
            rows.append((command.text, status, time.monotonic() - begun))
            report(*rows[-1])
    failed = [text for text, status, _ in rows if status != "0" and not status.startswith("not run")]
    sys.stdout.write("\nAll:\n")
    for row in rows:
        report(*row)
    sys.stdout.write(f"{len(rows)} commands, {len(failed)} failed; what they said: {log}\n")
    return 1 if failed else 0


def parse() -> int:
    """Say what documented commands name that does not exist; 1 if there is anything."""
    from command_checks import problems

    commands = documented()
    wrong = []
    for command in commands:
        if command.python:
            compile(command.text, "a documented program", "exec")
        else:
            wrong += [f"{command.text}: {problem}" for problem in problems(command.text)]
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    sys.stdout.write(f"{len(commands)} documented commands and programs, {len(wrong)} that name what does not exist\n")
    return 1 if wrong else 0


def report(text: str, status: str, seconds: float) -> None:
    """One row of the table."""
    sys.stdout.write(f"{' '.join(text.split())[:100]:100} | {status:10} | {seconds:6.0f} s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
