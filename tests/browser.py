"""Headless Chromium over its own debugging pipe; what needs it is skipped where no browser is installed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Seconds. A machine that does other work, and draws on its CPU, takes its time; a page that is broken says so by its errors.
PATIENCE = 600
# Software rendering, no sandbox of its own (containers have none), and nothing that the browser does for itself.
FLAGS = (
    "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip

# Moves the pipes to the numbers that Chromium expects, by way of numbers that are neither, and becomes Chromium.
LAUNCHER = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
    """One tab: what it logged, what it asked of the network, and commands."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.errors: list[str] = []
        self.requests: list[str] = []
        # Contexts of the page's process as number -> frame, and sessions of embedded frames that got a process of their own.
        self._frames: dict[int, str] = {}
        self._own_processes: list[str] = []

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol."""
        return self._browser.command(method, self._session, **parameters)

    def open(self, url: str, width: int = 1200, height: int = 800, mobile: bool = False) -> None:
        """Go there; the page need not have loaded when this returns."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if mobile else 1, "mobile": mobile}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.command("Page.navigate", url=url)

    def evaluate(self, expression: str, embedded: bool = False) -> Any:
        """Value of a JavaScript expression; promises are awaited.

        ``embedded``: in the newest embedded frame instead of the page; without such a frame the value is None.
        """
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        if not embedded:
            found = self.command("Runtime.evaluate", **asked)
        elif self._own_processes:
            found = self._browser.command("Runtime.evaluate", self._own_processes[-1], **asked)
        else:
            top = self.command("Page.getFrameTree")["frameTree"]["frame"]["id"]
            contexts = [number for number, frame in self._frames.items() if frame != top]
            if not contexts:
                return None
            found = self.command("Runtime.evaluate", contextId=contexts[-1], **asked)
        if "exceptionDetails" in found:
            raise AssertionError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def wait_for(self, expression: str, embedded: bool = False) -> None:
        """Until the expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.evaluate(f"Boolean({expression})", embedded):
            assert time.monotonic() < until, f"{expression} did not come true; the page logged {self.errors}"
            time.sleep(0.2)

    def screenshot(self, path: Path) -> None:
        """PNG of what is seen."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def heard(self, session: str, method: str, event: dict[str, Any]) -> None:
        """Note an event of the page, or of an embedded frame in a process of its own."""
        if method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
        elif method.startswith("Runtime.executionContext") and session != self._session:
            return
        elif method == "Runtime.executionContextCreated":
            self._frames[event["context"]["id"]] = event["context"]["auxData"]["frameId"]
        elif method == "Runtime.executionContextDestroyed":
            self._frames.pop(event["executionContextId"], None)
        elif method == "Runtime.executionContextsCleared":
            self._frames.clear()
        elif method == "Target.attachedToTarget":
            # The browser decides, by its load, whether a frame shares the page's process.
            for domain in ("Runtime", "Log", "Network"):
                self._browser.post(f"{domain}.enable", event["sessionId"])
            self._browser.post("Runtime.runIfWaitingForDebugger", event["sessionId"])
            if event["targetInfo"]["type"] == "iframe":
                self._own_processes.append(event["sessionId"])
        elif method == "Target.detachedFromTarget":
            self._own_processes = [session for session in self._own_processes if session != event["sessionId"]]
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["exceptionDetails"])[:1000])
        elif method == "Runtime.consoleAPICalled" and event["type"] in {"error", "assert"}:
            self.errors.append(json.dumps(event["args"])[:1000])
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.errors.append(f"{event['entry']['text']} {event['entry'].get('url', '')}"[:1000])


class Browser:
    """A running Chromium. Messages are JSON ended by zero bytes, on the descriptors 3 and 4 of its process."""

    def __init__(self, program: str, profile: str) -> None:
        read_there, self._write = os.pipe()
        self._read, write_there = os.pipe()
        flags = [*FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(read_there), str(write_there), program, *flags],
            pass_fds=(read_there, write_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)
        self._buffer, self._last = b"", 0
        self._pages: dict[str, Page] = {}

    def page(self) -> Page:
        """A new tab."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.command(f"{domain}.enable")
        page.command("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        return page

    def post(self, method: str, session: str | None = None, **parameters: Any) -> int:
        """Send without waiting; the number of the message."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._last

    def command(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send, and read until the answer comes; events on the way go to their pages."""
        number = self.post(method, session, **parameters)
        until = time.monotonic() + PATIENCE
        while True:
            heard = self._message(until)
            if heard.get("id") == number:
                assert "error" not in heard, f"{method}: {heard['error']}"
                answer: dict[str, Any] = heard["result"]
                return answer
            if heard.get("sessionId") in self._pages:
                self._pages[heard["sessionId"]].heard(
                    heard["sessionId"], heard.get("method", ""), heard.get("params", {})
                )
                if heard.get("method") == "Target.attachedToTarget":
                    self._pages[heard["params"]["sessionId"]] = self._pages[heard["sessionId"]]

    def close(self) -> None:
        """End the process."""
        os.close(self._write)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._read)

    def _message(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._read, 2**20)
            assert piece, "the browser ended"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, or skip."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser is installed (one of {', '.join(NAMES)})")
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            yield browser
        finally:
            browser.close()
