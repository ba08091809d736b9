"""Files of a folder that a server shows to browsers, and their headers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from streaming.server.http import Asked, Refusal, read_request
from streaming.server.page import LARGEST, Page

PAGE = Path(__file__).parents[3] / "clients" / "web"


def asked(path: str, **headers: str) -> Asked:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_request(Request(path, Headers({"Host": "localhost", **named})))


def answer(page: Page, path: str, **headers: str) -> Response:
    request = asked(path, **headers)
    assert page.has(request)
    found = page.answer(request)
    assert isinstance(found, Response)
    return found


def test_files_of_known_kinds_are_served_and_nothing_else(tmp_path: Path) -> None:
    inside = tmp_path / "page"
    (inside / "deeper").mkdir(parents=True)
    for name in ("index.html", "app.js", "notes.txt", "deeper/other.js", "../secret.js"):
        (inside / name).write_text(name)
    page = Page(str(inside))
    assert answer(page, "/").body == b"index.html"
    assert answer(page, "/app.js?v=1").body == b"app.js"
    absent = ("/index.html", "/notes.txt", "/other.js", "/deeper/other.js", "/../secret.js")
    for path in (*absent, "/%2e%2e/secret.js", "/app.js/", "//app.js", "/page/app.js"):
        assert not page.has(asked(path)), path


def test_browsers_are_told_the_kind_and_to_let_nothing_else_in() -> None:
    page = Page(str(PAGE))
    kinds = {"/": "text/html; charset=utf-8", "/app.js": "text/javascript; charset=utf-8"}
    kinds |= {"/style.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml"}
    for path, kind in kinds.items():
        headers = answer(page, path).headers
        assert headers["Content-Type"] == kind
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
    shown = (PAGE / "index.html").read_text()
    assert "style=" not in shown and "onclick" not in shown and "://" not in shown


def test_what_a_browser_has_is_not_sent_again() -> None:
    page = Page(str(PAGE))
    tag = answer(page, "/app.js").headers["ETag"]
    again = answer(page, "/app.js", If_None_Match=f'"other", W/{tag}')
    assert (again.status_code, again.body) == (304, b"")
    assert answer(page, "/app.js", If_None_Match='"other"').status_code == 200
    assert page.has(asked("/app.js")) and not page.has(asked("/app.js", Upgrade="websocket"))


def test_a_visit_is_a_link_to_the_page_that_somebody_follows() -> None:
    page = Page(str(PAGE))
    follows = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert page.is_visit(asked("/", Sec_Fetch_Site="cross-site", **follows))
    assert not page.is_visit(asked("/", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe"))
    assert not page.is_visit(asked("/", Sec_Fetch_Mode="cors", Sec_Fetch_Dest="empty"))
    assert not page.is_visit(asked("/healthz", **follows))


def test_folders_that_cannot_be_shown(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"expected index\.html"):
            Page(str(folder))
    (tmp_path / "index.html").write_bytes(b" " * (LARGEST + 1))
    with pytest.raises(ValueError, match="at most"):
        Page(str(tmp_path))


def test_only_reading_is_allowed() -> None:
    page = Page(str(PAGE))
    request = asked("/")
    for method, body in (("GET", True), ("HEAD", False)):
        found = page.answer(replace(request, method=method))
        assert isinstance(found, Response) and bool(found.body) is body
    refused = page.answer(replace(request, method="POST"))
    assert isinstance(refused, Refusal) and refused.status == 405
