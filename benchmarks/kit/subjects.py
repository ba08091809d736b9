"""Subjects that ``facodec bench step`` times: one side of a model, streams in a batch, hops in a
call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.kit.gpu_graph import FixedStep
from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, HOP, SAMPLE_RATE, TIMBRE_DIM
from facodec.published.model import Ns3Model
from facodec.states import stack_states

if TYPE_CHECKING:
    from facodec.codec import Codec

Call = Callable[[], object]
State = Any
WARM_FRAMES = 5 * SAMPLE_RATE // HOP
"""Frames a stream has lived through before it is timed: past every look-ahead, and past the
seconds in which a published model still estimates the talker's timbre now and then."""
WARM_BLOCK = 40
INPUTS = 16
"""Different inputs that take turns."""


def load_codec(model: str, backend: str | None = None, device: str = "cpu") -> Codec:
    """A codec by name or folder. ``ns3`` has the published sizes and random weights: computing time
    does not depend on their values. ``backend``: how it computes, as :func:`facodec.load` takes it.

    Raises ValueError for a model or a backend that there is not."""
    import facodec
    from facodec.codec import Codec

    if model != "ns3":
        return facodec.load(model, device=device, backend=backend or "auto")
    network = plain_model(model)
    if backend == "onnx":
        return _in_onnx_runtime(network)
    if device != "cpu":
        return Codec(network.to(device))
    from facodec.published.precisions import prepare

    return Codec(prepare(network, backend or "auto"))


def _in_onnx_runtime(network: Any) -> Codec:
    """A codec on the graphs of a network. Raises ImportError without what exports and runs them."""
    from facodec.codec import Codec
    from facodec.onnx.export import export
    from facodec.onnx.runtime import load_exported

    with tempfile.TemporaryDirectory() as name:
        export(network, Path(name, "graphs"))
        return Codec(load_exported(Path(name, "graphs")))


def plain_model(name: str) -> Any:
    """The network itself, without anything that packs or fuses its weights; always the same."""
    if name != "ns3":
        return load_codec(name).model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Ns3Model()


def speech(seconds: float = 4.0) -> np.ndarray:
    """The bundled sample, repeated or cut to this length, float32 (n,)."""
    import soundfile

    from clients.offline.voicebook import BUNDLED

    samples, _ = soundfile.read(BUNDLED["slt"], dtype="float32")
    return np.resize(samples, int(seconds * SAMPLE_RATE)).astype(np.float32)


class Subject:
    """``batch`` streams in the middle of their lives, ``hops`` frames a call.

    ``steps``: what computes them, usually :attr:`facodec.codec.Codec.steps`. :meth:`encode` and
    :meth:`decode` take host memory and give host memory, so what moving there and back costs is in
    them. ``captured``: through :class:`benchmarks.kit.gpu_graph.FixedStep`, which is a graph on
    CUDA.
    """

    def __init__(
        self,
        steps: Any,
        batch: int,
        hops: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        captured: bool = False,
    ) -> None:
        self._model, self._device = steps, torch.device(device)
        random = np.random.default_rng(seed)
        self._audio = _batches_of_speech(batch, hops, random)
        drawn = random.integers(0, CODEBOOK_SIZE, (INPUTS, batch, CODE_LAYERS, hops))
        self._codes = [torch.from_numpy(codes) for codes in drawn]
        self._timbre = torch.zeros(batch, TIMBRE_DIM, device=self._device)
        self._turn = 0
        with torch.inference_mode():
            self._encoding = _grown(self._warm_encoder(), batch)
            self._decoding = _grown(self._warm_decoder(), batch)
            self._fixed = self._fix() if captured else None

    @torch.inference_mode()
    def encode(self) -> Tensor:
        """The next hops of all streams through the encoder: codes (B, 6, n) on the host."""
        audio = self._audio[self._next()]
        if self._fixed is not None:
            return self._fixed[0](audio)
        codes: Tensor
        codes, self._encoding = self._model.encoder_step(audio.to(self._device), self._encoding)
        return codes.cpu()

    @torch.inference_mode()
    def decode(self) -> Tensor:
        """The next frames of all streams through the decoder: audio (B, 200 n) on the host."""
        codes = self._codes[self._next()]
        if self._fixed is not None:
            return self._fixed[1](codes)
        moved = codes.to(self._device)
        audio: Tensor
        audio, self._decoding = self._model.decoder_step(moved, self._timbre, self._decoding)
        return audio.cpu()

    @property
    def captured(self) -> bool:
        """Whether a graph is replayed, rather than the model called."""
        return self._fixed is not None and all(step.captured for step in self._fixed)

    @property
    def states(self) -> tuple[State, State]:
        """States of the encoder and of the decoder, for the whole batch."""
        return self._encoding, self._decoding

    def _fix(self) -> tuple[FixedStep, FixedStep]:
        encode, decode = pure_steps(self._model)
        return (
            FixedStep(encode, self._audio[0].to(self._device), self._encoding),
            FixedStep(
                lambda codes, state: decode(codes, self._timbre, state),
                self._codes[0].to(self._device),
                self._decoding,
            ),
        )

    def _next(self) -> int:
        self._turn = (self._turn + 1) % INPUTS
        return self._turn

    def _warm_encoder(self) -> State:
        state = self._model.encoder_state(1)
        heard = torch.from_numpy(speech(WARM_FRAMES * HOP / SAMPLE_RATE)).unsqueeze(0)
        for block in heard.split(WARM_BLOCK * HOP, dim=1):
            _, state = self._model.encoder_step(block.to(self._device), state)
        return state

    def _warm_decoder(self) -> State:
        state = self._model.decoder_state(1, 0)
        codes = torch.zeros(1, CODE_LAYERS, WARM_BLOCK, dtype=torch.long, device=self._device)
        for _ in range(WARM_FRAMES // WARM_BLOCK):
            _, state = self._model.decoder_step(codes, self._timbre[:1], state)
        return state


def pure_steps(model: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Encoder and decoder step without anything that looks at values on the host.

    The published model estimates a talker's timbre at a few points of the first seconds, which
    depends on how long a stream has been heard: that is left out here, as it has no place in a
    graph that every tick replays."""
    if not isinstance(model, Ns3Model):
        return model.encoder_step, model.decoder_step

    def encode(audio: Tensor, state: State) -> tuple[Tensor, State]:
        latent, convolutions = model.encoder.step(audio.unsqueeze(-1), state.convolutions)
        return model.decoder.quantize(latent), replace(state, convolutions=convolutions)

    return encode, model.decoder_step


def _grown(state: State, batch: int) -> State:
    """The state of ``batch`` streams that all have this one's past."""
    return state if batch == 1 else stack_states([state] * batch)


def _batches_of_speech(batch: int, hops: int, random: np.random.Generator) -> list[Tensor]:
    """Inputs (B, 200 n), each stream at a place of its own in the sample."""
    size = hops * HOP
    samples = speech()
    starts = random.integers(0, len(samples) - INPUTS * size, batch)
    rows = np.stack([samples[at : at + INPUTS * size] for at in starts])
    return [torch.from_numpy(rows[:, i * size : (i + 1) * size].copy()) for i in range(INPUTS)]
