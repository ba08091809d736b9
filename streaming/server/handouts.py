"""Answers over HTTP to browsers that compute by themselves: the model, and voices."""

from __future__ import annotations

from collections.abc import Awaitable
from urllib.parse import unquote

from websockets.http11 import Response

from facodec.names import composed
from streaming.server.gate import Visitor
from streaming.server.http import Asked, Refusal
from streaming.server.model_image import DATA, ModelImage
from streaming.server.page import File
from streaming.server.runtime import Runtime
from streaming.wire.protocol import ProtocolError

VOICES = "/voices/"
"""Place of the voices that clients may ask for by name."""


def hand_out_model(
    image: ModelImage, visitor: Visitor, asked: Asked
) -> Refusal | Awaitable[Response]:
    """The model, to those who may come in: its weights may be the owner's alone."""
    if refusal := visitor.show(asked.token):
        return refusal
    if not visitor.is_known:
        return Refusal(401, "the model wants a token", {"WWW-Authenticate": "Bearer"})
    return image.answer(asked)


def hand_out_voice(runtime: Runtime, visitor: Visitor, asked: Asked) -> Response | Refusal:
    """A voice by its name, to those who may convert."""
    if refusal := visitor.show(asked.token) or visitor.convert():
        return refusal
    name = composed(unquote(asked.path.removeprefix(VOICES)))
    try:
        data = runtime.voice_file(name)
    except ProtocolError as error:
        return Refusal(404, error.sentence)
    return File.of(data, DATA, cache="no-store").answer(asked)
