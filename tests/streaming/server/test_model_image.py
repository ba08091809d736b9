"""The model for pages: its description leads to parts that make up the image."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from facodec.codec import Codec
from streaming.server import model_image
from streaming.server.http import Asked, read_request
from streaming.server.model_image import LARGEST, ModelImage


def asked(path: str, **headers: str) -> Asked:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_request(Request(path, Headers({"Host": "localhost", **named})))


@pytest.fixture(autouse=True)
def _waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is."""
    monkeypatch.setattr(model_image, "PATIENCE", 60.0)


def test_the_description_leads_to_all_parts(live: Codec) -> None:
    image = ModelImage.of_first({"live": live})
    assert image is not None

    async def fetch(path: str) -> Response:
        assert image.has(asked(path)), path
        return await image.answer(asked(path))

    async def fetch_all() -> None:
        # Who asks while it is being made waits for the same.
        first, again = await asyncio.gather(fetch("/model.json"), fetch("/model.json"))
        assert first.body == again.body
        assert first.headers["Cache-Control"] == "no-cache"
        about = json.loads(first.body)
        assert about["identity"] == str(live.identity)
        total = 0
        for path in about["parts"]:
            part = await fetch(f"/{path}")
            assert part.status_code == 200 and 0 < len(part.body) <= LARGEST
            assert "immutable" in part.headers["Cache-Control"]
            total += len(part.body)
        assert LARGEST < total < about["bytes"]
        tag = part.headers["ETag"]
        known = await image.answer(asked(f"/{path}", If_None_Match=tag))
        assert (known.status_code, known.body) == (304, b"")
        assert (await fetch("/model/other-0")).status_code == 404
        posted = replace(asked("/model.json"), method="POST")
        assert (await image.answer(posted)).status_code == 405

    asyncio.run(fetch_all())
    assert not image.has(asked("/models")) and not image.has(asked("/"))
    assert not image.has(asked("/model.json", Upgrade="websocket"))


def test_who_asks_while_it_takes_long_is_told_to_ask_again(
    live: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = ModelImage.of_first({"live": live})
    assert image is not None

    async def ask_twice() -> tuple[int, int]:
        monkeypatch.setattr(model_image, "PATIENCE", 0.0)
        early = await image.answer(asked("/model.json"))
        assert early.headers["Retry-After"] == "1"
        monkeypatch.setattr(model_image, "PATIENCE", 60.0)
        return early.status_code, (await image.answer(asked("/model.json"))).status_code

    assert asyncio.run(ask_twice()) == (202, 200)


@pytest.mark.parametrize("names", [(), ("other",)])
def test_pages_compute_no_other_model(names: tuple[str, ...]) -> None:
    class Other:
        model = object()

    assert ModelImage.of_first({name: Other() for name in names}) is None  # type: ignore[misc]
