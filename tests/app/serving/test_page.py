"""The page in a headless browser: two people generate, watch, download, cancel and delete; bad input; a phone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import PATIENCE, Browser, Page, chromium
from served import SCENES, Content, Server, content, ended, server, submitted


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def serving(model: Path, tmp_path: Path) -> Iterator[Server]:
    with server(model, tmp_path / "scenes") as found:
        yield found


def opened(browser: Browser, serving: Server, **size: Any) -> Page:
    page = browser.page()
    page.open(f"http://127.0.0.1:{serving.port}/", **size)
    page.wait_for(
        "document.getElementById('none') && !document.getElementById('none').hidden || document.querySelector('#gallery li')"
    )
    return page


def generate(page: Page, prompt: str, seed: str) -> None:
    for name, value in (("prompt", prompt), ("seed", seed)):
        page.evaluate(f"document.getElementById('{name}').value = {json.dumps(value)}")
    page.evaluate("document.getElementById('generate').click()")


def text(page: Page, id: str) -> str:
    return str(page.evaluate(f"document.getElementById('{id}').textContent"))


def stays_here(page: Page, serving: Server) -> None:
    outside = [
        url for url in page.requests if not url.startswith((f"http://127.0.0.1:{serving.port}/", "data:", "blob:"))
    ]
    assert outside == []


def test_two_people_generate_watch_download_and_delete(
    browser: Browser, serving: Server, alone: list[Content], tmp_path: Path
) -> None:
    one, other = opened(browser, serving), opened(browser, serving)
    (first, seed), (second, another) = SCENES[0], SCENES[3]
    generate(one, first, str(seed))
    generate(other, second, str(another))
    for page, prompt in ((one, first), (other, second)):
        page.wait_for(f"document.getElementById('title').textContent === {json.dumps(prompt)}")
        # A browser draws in the tab that is in front alone; and the viewer runs, though it may not ask the server for anything.
        page.command("Page.bringToFront")
        page.wait_for("window.vist3a", embedded=True)
        assert page.evaluate("window.origin", embedded=True) == "null"
        # Both see what both have made.
        page.wait_for("document.querySelectorAll('#gallery li').length === 2")
        assert page.evaluate("document.querySelector('#gallery .shown').textContent") == prompt
        page.wait_for("document.querySelectorAll('#jobs li').length === 0")
    names = [f"{prompt.replace(' ', '-')}-{number}" for prompt, number in (SCENES[0], SCENES[3])]
    assert [content(tmp_path / "scenes" / name) for name in names] == [alone[0], alone[3]]

    downloads = tmp_path / "downloads"
    downloads.mkdir()
    browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    one.command("Page.bringToFront")
    one.evaluate(
        "[...document.querySelectorAll('#files a')].find(link => link.textContent.startsWith('gaussians.ply')).click()"
    )
    saved, until = downloads / f"{names[0]}-gaussians.ply", time.monotonic() + PATIENCE
    while not saved.is_file():
        assert time.monotonic() < until, list(downloads.iterdir())
        time.sleep(0.1)
    assert saved.read_bytes() == (tmp_path / "scenes" / names[0] / "gaussians.ply").read_bytes()

    one.evaluate("window.confirm = () => false; document.getElementById('delete').click()")
    assert one.evaluate("document.getElementById('scene').hidden") is False
    one.evaluate("window.confirm = () => true; document.getElementById('delete').click()")
    one.wait_for("document.getElementById('scene').hidden && document.querySelectorAll('#gallery li').length === 1")
    assert [path.name for path in (tmp_path / "scenes").iterdir()] == [names[1]]
    # Who comes later finds what is there.
    later = opened(browser, serving)
    later.evaluate("document.querySelector('#gallery button').click()")
    later.wait_for(f"document.getElementById('title').textContent === {json.dumps(second)}")
    for page in (one, other, later):
        assert page.errors == []
        stays_here(page, serving)


def test_progress_is_shown_and_cancel_works(browser: Browser, serving: Server, tmp_path: Path) -> None:
    page = opened(browser, serving)
    submitted(serving, prompt="a ball", steps=1500)
    generate(page, "a cube", "7")
    page.wait_for("document.querySelectorAll('#jobs li').length === 2")
    assert page.evaluate("document.querySelector('#jobs li[data-state=waiting]').textContent").startswith(
        "a cubewaiting, place 1"
    )
    page.wait_for("document.querySelector('#jobs li[data-state=running] progress').value > 0")
    assert page.evaluate("document.querySelector('#jobs li[data-state=running] .state').textContent").endswith(
        " of 1500"
    )
    page.evaluate("document.querySelector('#jobs li[data-state=waiting] .cancel').click()")
    page.wait_for("document.querySelector('#jobs li[data-state=cancelled] .state')?.textContent === 'cancelled'")
    page.evaluate("document.querySelector('#jobs li[data-state=running] .cancel').click()")
    page.wait_for("!document.querySelector('#jobs li[data-state=running]')")
    assert [job["state"] for job in ended(serving)] == ["cancelled", "cancelled"]
    assert list((tmp_path / "scenes").iterdir()) == []
    assert page.errors == []


def test_bad_input_is_a_sentence(browser: Browser, serving: Server) -> None:
    page = opened(browser, serving)
    for prompt, seed, sentence in (
        ("qwrt <b>", "", "the generator knows no word of this prompt"),
        ("a ball", "1.5", "seed '1.5'; allowed: an integer of 64 bits"),
        ("a ball", "9223372036854775808", "seed 9223372036854775808; allowed"),
        (" ", "", "the prompt is empty; give a text"),
    ):
        generate(page, prompt, seed)
        page.wait_for(f"document.getElementById('refusal').textContent.includes({json.dumps(sentence)})")
    assert page.evaluate("document.querySelector('#refusal b')") is None, "text, and no HTML"
    assert serving.call("GET", "/jobs")[1] == {"jobs": []}
    # Every digit of a large seed arrives, and the sentence goes.
    generate(page, "a ball", "9007199254740993")
    page.wait_for("document.getElementById('refusal').textContent === ''")
    assert [job["seed"] for job in ended(serving)] == [9007199254740993]


def test_a_phone_shows_it_without_sideways_scrolling(browser: Browser, serving: Server, tmp_path: Path) -> None:
    page = opened(browser, serving, width=390, height=844, mobile=True)
    generate(page, "a cube on a ball", "0")
    page.wait_for("document.querySelector('#view iframe')")
    page.wait_for("window.vist3a", embedded=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shown = page.evaluate(
        "[...document.querySelectorAll('textarea, input, button, #view iframe, #files a')]"
        ".map(thing => thing.getBoundingClientRect()).map(box => [box.left, box.right, box.height])"
    )
    assert len(shown) > 8 and all(left >= 0 and right <= 390 and height > 30 for left, right, height in shown)
    page.evaluate("document.getElementById('dice').click()")
    assert int(page.evaluate("document.getElementById('seed').value")) >= 0
    assert page.errors == []
    stays_here(page, serving)
