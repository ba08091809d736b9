"""The model for pages that compute the codec themselves: a description and the parts of its image,
made when somebody first asks for them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from websockets.http11 import Response

from facodec.bundled.model import LiveModel
from facodec.bundled.steps.image import image_of
from facodec.codec import Codec
from facodec.streams.lanes import prepare_thread
from streaming.engine.aside import give_way
from streaming.server.http import Asked, Refusal
from streaming.server.page import File

ABOUT = "model.json"
"""Place of the description, beside the page. Its ``parts`` name what the image's data is to be
joined from; ``latency`` is as in ``ready``, ``steer`` how far conversions push a voice from the
talker's; the rest is :attr:`facodec.bundled.steps.image.Image.about` and the ``identity``."""
PARTS = "model/"
LARGEST = 1 << 20
"""Bytes of a part: as much may wait for a browser that does not take it."""
FOR_EVER = "private, max-age=31536000, immutable"
"""Cache-Control of a part, whose name changes with what is in it."""
DATA = "application/octet-stream"
PATIENCE = 4.0
"""Seconds that a request waits for the image; a machine that is busy takes longer to make it."""


class ModelImage:
    """The image of a codec's model, for requests. Used in one event loop."""

    place = ABOUT

    def __init__(self, codec: Codec, model: LiveModel) -> None:
        self._codec, self._model = codec, model
        self._making: asyncio.Future[dict[str, File]] | None = None

    @classmethod
    def of_first(cls, codecs: Mapping[str, Codec]) -> ModelImage | None:
        """The image of the first of a server's models, which is a session's unless it asks for
        another; None where pages cannot compute it."""
        codec = next(iter(codecs.values()), None)
        if codec is None or not isinstance(codec.model, LiveModel) or codec.device.type != "cpu":
            return None
        return cls(codec, codec.model)

    def has(self, asked: Asked) -> bool:
        """Whether a request asks for something of it."""
        path = asked.path.removeprefix("/")
        return not asked.is_upgrade and (path == ABOUT or path.startswith(PARTS))

    async def answer(self, asked: Asked) -> Response:
        """The response to a request; the first who asks waits a second until it is made, or is
        told with 202 to ask again."""
        if self._making is None:
            # A thread of its own, which gives way to who speaks, and ends.
            maker = ThreadPoolExecutor(1, "model-image", initializer=give_way)
            self._making = asyncio.get_running_loop().run_in_executor(maker, self._make)
            maker.shutdown(wait=False)
        try:
            files = await asyncio.wait_for(asyncio.shield(self._making), PATIENCE)
        except asyncio.TimeoutError:
            return Refusal(202, "the model is being made", {"Retry-After": "1"}).response()
        file = files.get(asked.path)
        answer = Refusal(404, "no such part") if file is None else file.answer(asked)
        return answer.response() if isinstance(answer, Refusal) else answer

    def _make(self) -> dict[str, File]:
        """The files by path; none for a model whose widths do not fit."""
        prepare_thread()
        image = image_of(self._model)
        if image is None:
            return {}
        tag = hashlib.sha256(image.data).hexdigest()[:16]
        files = {
            f"{PARTS}{tag}-{start // LARGEST}": File.of(
                image.data[start : start + LARGEST], DATA, FOR_EVER
            )
            for start in range(0, len(image.data), LARGEST)
        }
        latency = self._codec.latency
        about = {
            "identity": str(self._codec.identity),
            "latency": {"encoder": latency.encoder, "decoder": latency.decoder},
            "steer": self._model.steer,
            "parts": list(files),
            **image.about,
        }
        files[ABOUT] = File.of(json.dumps(about).encode(), "application/json")
        return {f"/{path}": file for path, file in files.items()}
