"""Who may ask, over the routes of the gallery: no network is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest
from served import written
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from vist3a_app.serving.access import TokenGuard, token_for
from vist3a_app.serving.gallery import Gallery
from vist3a_app.serving.http_door import bound
from vist3a_app.serving.scene_routes import scene_routes

TOKEN = "sixteen-signs-at-least"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    written(tmp_path, "a")
    app = Starlette(routes=scene_routes(Gallery(tmp_path)), middleware=[Middleware(TokenGuard, TOKEN)])
    return TestClient(app, "http://192.0.2.1:5001", follow_redirects=False)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer "},
        {"Cookie": f"vist3a-token={TOKEN[:-1]}"},
        {"Cookie": f"other={TOKEN}"},
        {"Cookie": "vist3a-token=\x7f"},
    ],
)
def test_nothing_without_the_token(headers: dict[str, str], client: TestClient, tmp_path: Path) -> None:
    for method, path in (
        ("GET", "/"),
        ("GET", "/?token=wrong"),
        ("GET", f"/scenes?token={TOKEN}"),
        ("GET", "/scenes/a/viewer.html"),
        ("GET", "/archives/a.zip"),
        ("DELETE", "/scenes/a"),
        ("GET", "/nothing"),
    ):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401 and answer.json()["message"].startswith("no token, or a wrong one; allowed: ")
    assert (tmp_path / "a").is_dir()


def test_the_token_opens(client: TestClient) -> None:
    assert client.get("/scenes", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    answer = client.get(f"/?token={TOKEN}")
    # The page's address has no token, and pages of others cannot use the cookie to change anything.
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    assert "httponly" in answer.headers["set-cookie"].lower() and "samesite=lax" in answer.headers["set-cookie"].lower()
    assert client.get("/").status_code == client.get("/scenes/a/viewer.html").status_code == 200
    assert client.delete("/scenes/a").status_code == 204


def test_the_page_asks_nothing_of_others(client: TestClient) -> None:
    client.get(f"/?token={TOKEN}")
    for path in ("/", "/page.js", "/page.css"):
        answer = client.get(path)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "http:" not in answer.text and "https:" not in answer.text
    # A viewer runs, and has no rights at this server.
    assert client.get("/scenes/a/viewer.html").headers["content-security-policy"] == "sandbox allow-scripts"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_on_this_machine_no_token_is_needed(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIST3A_TOKEN", raising=False)
    assert token_for(host) is None
    monkeypatch.setenv("VIST3A_TOKEN", TOKEN)
    assert token_for(host) == TOKEN


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "", "127.0.0.2"])
def test_elsewhere_there_is_always_one(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIST3A_TOKEN", raising=False)
    first, second = token_for(host), token_for(host)
    assert first is not None and second is not None and first != second and len(first) >= 16
    monkeypatch.setenv("VIST3A_TOKEN", TOKEN)
    assert token_for(host) == TOKEN


@pytest.mark.parametrize(
    "token", ["", "short", "fifteen-signs-a", "with a space in it all", "with;semicolons;in;it", "ä" * 16]
)
def test_a_bad_token_is_a_sentence(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIST3A_TOKEN", token)
    with pytest.raises(ValueError, match=rf"VIST3A_TOKEN has {len(token)} characters; allowed: at least 16"):
        token_for("0.0.0.0")


def test_a_host_that_is_not_here_is_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"--host 192\.0\.2\.1 --port 0: .*; allowed: an address of this machine"):
        bound("192.0.2.1", 0)
