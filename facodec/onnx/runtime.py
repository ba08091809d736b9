"""Exported graphs as a model: ONNX Runtime behind :class:`facodec.model.CodecModel`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from facodec.bundled.model import LiveModel
from facodec.bundled.synthesis import NOISE_FRAMES
from facodec.bundled.talker import need_speech
from facodec.config import CODE_LAYERS, HOP, TIMBRE_DIM, Latency
from facodec.files import need_plain, read_json
from facodec.identity import ModelIdentity
from facodec.onnx import SIDECAR
from facodec.onnx.export import FORMAT, NEXT, STATE, needed
from facodec.onnx.fixed import ENDLESS, REACH
from facodec.published.model import Ns3Model
from facodec.published.timbre import RunningTimbre, TimbreEncoder, TimbreTracker
from facodec.reasons import shown
from facodec.weights.reading import check_digest

LARGEST_JSON = 1 << 20
LARGEST_STATE = 1 << 24
"""Numbers that a stream's state may have; those of ns3 are 0.3 million."""
VOICE = "voice."
"""Beginning of the names of states that hold who was heard."""
Outputs = list[Tensor]
M = TypeVar("M", bound="OnnxModel")


@dataclass(frozen=True)
class GraphState:
    """``tensors`` in the order of the sidecar, batch first; ``heard``: frames so far, counted
    only as far as a graph can tell them apart."""

    tensors: tuple[Tensor, ...]
    heard: int


class StepGraph:
    """A graph that takes a frame a call, with its state."""

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self._session = _session(folder, description)
        self.delay: int = description["delay"]
        self.states: dict[str, dict[str, Any]] = description["states"]
        _check_states(self.states)
        self._clocked = "heard" in description["inputs"]
        self._settled = self.delay + (REACH if self._clocked else 0)
        self._outputs: list[str] = description["outputs"]

    def initial_state(self, batch: int) -> GraphState:
        tensors = (
            torch.full((batch, *state["shape"]), state["initial"], dtype=_dtype(state["dtype"]))
            for state in self.states.values()
        )
        return GraphState(tuple(tensors), 0)

    def index(self, name: str) -> int:
        """Place of a state tensor in :attr:`GraphState.tensors`."""
        return list(self.states).index(name)

    def step(
        self, inputs: dict[str, Tensor], state: GraphState, coming: int = ENDLESS
    ) -> tuple[Outputs, GraphState]:
        """One frame in; each output is empty along its last axis but one for as long as the
        graph's delay lasts."""
        feed = {name: tensor.numpy() for name, tensor in inputs.items()}
        if self._clocked:
            feed |= {"heard": np.array([state.heard]), "coming": np.array([coming])}
        names = [STATE + name for name in self.states]
        feed |= {n: t.numpy() for n, t in zip(names, state.tensors, strict=True)}
        wanted = [*self._outputs, *(NEXT + name for name in self.states)]
        found = [torch.from_numpy(array) for array in self._session.run(wanted, feed)]
        count = len(self._outputs)
        after = GraphState(tuple(found[count:]), min(state.heard + 1, self._settled))
        return (found[:count] if state.heard >= self.delay else []), after


class OnnxModel(nn.Module):
    """Both models' common part, and the steps of their streams. ``encoder`` and ``decoder`` run
    frame by frame."""

    follows_source = says_level = False
    decoder_memory: int | None = None
    hops: ClassVar[tuple[int, ...]] = (8, 4, 2, 1)
    exact_sizes = False
    in_place = None

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        super().__init__()
        self.name: str = description["model"]
        self.identity = _identity(description)
        self.latency = Latency(**description["latency"])
        precision = description["precision"]
        self.backend = "onnx" if precision == "float32" else f"onnx {precision}"
        graphs = description["graphs"]
        self.encoder = StepGraph(folder, graphs["encoder"])
        self.decoder = StepGraph(folder, graphs["decoder"])
        self._talker = _session(folder, graphs["talker"])
        self._place = nn.Parameter(torch.zeros(0), requires_grad=False)  # tells the device

    def steps(self: M, backend: str = "auto") -> M:
        """The model itself. Raises ValueError for another backend."""
        if backend not in ("auto", "onnx", self.backend):
            raise ValueError(f"expected backend 'onnx' of exported graphs, got {backend!r}")
        return self

    def decoder_skip(self, codes: Tensor, state: GraphState) -> GraphState:
        """Raises ValueError: what a graph remembers is not known."""
        raise ValueError(f"frames of the exported model {self.name} cannot be skipped")

    def encode(self, audio: Tensor) -> Tensor:
        return self.encode_with_timbre(audio)[0]

    def voice(self, audio: Tensor) -> Tensor:
        return self.encode_with_timbre(audio)[1][0]

    def encode_with_timbre(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def decode(self, codes: Tensor, timbre: Tensor, seed: int = 0) -> Tensor:
        audio, state = self.decoder_step(codes, timbre, self.decoder_state(codes.shape[0], seed))
        return torch.cat((audio, self.decoder_flush(timbre, state)), dim=1)

    def decoder_state(self, batch: int = 1, seed: int = 0) -> GraphState:
        return self.decoder.initial_state(batch)

    def decoder_step(
        self, codes: Tensor, timbre: Tensor, state: GraphState, coming: int = ENDLESS
    ) -> tuple[Tensor, GraphState]:
        parts = [timbre.new_zeros(codes.shape[0], 0)]
        for frame in codes.split(1, dim=2) if codes.shape[2] else ():
            found, state = self.decoder.step({"codes": frame, "timbre": timbre}, state, coming)
            parts += found
            coming -= 1
        return torch.cat(parts, dim=1), state

    def decoder_flush(self, timbre: Tensor, state: GraphState) -> Tensor:
        raise NotImplementedError

    def talker(self, inputs: dict[str, Tensor]) -> Tensor:
        """Timbre (B, 256) of what an encoder has gathered."""
        feed = {name: tensor.numpy() for name, tensor in inputs.items()}
        return torch.from_numpy(self._talker.run(["timbre"], feed)[0])


class OnnxLive(OnnxModel):
    """The bundled model, exported."""

    follows_source = says_level = True
    steer = LiveModel.steer

    def encoder_state(self, batch: int = 1) -> GraphState:
        return self.encoder.initial_state(batch)

    def encoder_step(self, audio: Tensor, state: GraphState) -> tuple[Tensor, GraphState]:
        parts = [_no_codes(audio)]
        for hop in audio.split(HOP, dim=1) if audio.shape[1] else ():
            found, state = self.encoder.step({"audio": hop}, state)
            parts += found
        return torch.cat(parts, dim=2), state

    def encoder_flush(self, state: GraphState) -> Tensor:
        return _no_codes(state.tensors[0])

    def encoder_timbre(self, state: GraphState) -> Tensor:
        """The running estimate (B, 256)."""
        parts = dict(zip(self.encoder.states, state.tensors, strict=True))
        return self.talker(
            {n.removeprefix(VOICE): t for n, t in parts.items() if n.startswith(VOICE)}
        )

    def voice(self, audio: Tensor) -> Tensor:
        state = self._heard(audio)[1]
        parts = dict(zip(self.encoder.states, state.tensors, strict=True))
        need_speech(float(parts[f"{VOICE}long.weight"][0]), audio.shape[1])
        # A recording is of one talker: what was heard last counts for no more than the rest.
        whole = (name.replace(f"{VOICE}short.", f"{VOICE}long.") for name in parts)
        return self.encoder_timbre(replace(state, tensors=tuple(parts[name] for name in whole)))[0]

    def encode_with_timbre(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        codes, state = self._heard(audio)
        return codes, self.encoder_timbre(state)

    def _heard(self, audio: Tensor) -> tuple[Tensor, GraphState]:
        """Codes of audio (B, n), and the state after it."""
        padded = nn.functional.pad(audio, (0, -audio.shape[1] % HOP))
        return self.encoder_step(padded, self.encoder_state(audio.shape[0]))

    def decoder_state(self, batch: int = 1, seed: int = 0) -> GraphState:
        """``seed`` gives the noise its start, as in the synthesizer this was exported from."""
        state, noise = super().decoder_state(batch), self.decoder.index("synthesis.noise")
        start = int(np.random.Generator(np.random.PCG64(seed)).integers(NOISE_FRAMES))
        tensors = list(state.tensors)
        tensors[noise] = torch.full_like(tensors[noise], start)
        return replace(state, tensors=tuple(tensors))

    def decoder_flush(self, timbre: Tensor, state: GraphState) -> Tensor:
        tail = state.tensors[self.decoder.index("synthesis.tail")]
        return tail[:, : HOP if state.heard else 0]

    def convert_codes(self, codes: Tensor, source: Tensor | None, target: Tensor) -> Tensor:
        return LiveModel.convert_codes(cast(LiveModel, self), codes, source, target)

    def convert_timbre(self, source: Tensor | None, target: Tensor) -> Tensor:
        return LiveModel.convert_timbre(cast(LiveModel, self), source, target)


@dataclass(frozen=True)
class Ns3EncoderState:
    """State of the graph, and of the running timbre estimate."""

    graph: GraphState
    timbre: RunningTimbre


class OnnxNs3(OnnxModel):
    """The published model, exported."""

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        super().__init__(folder, description)
        encoder = cast(TimbreEncoder, _Talker(self))
        self._tracker = TimbreTracker(encoder, tuple(description["timbre_frames"]))

    def encoder_state(self, batch: int = 1) -> Ns3EncoderState:
        return Ns3EncoderState(
            self.encoder.initial_state(batch), self._tracker.initial_state(batch)
        )

    def encoder_step(self, audio: Tensor, state: Ns3EncoderState) -> tuple[Tensor, Ns3EncoderState]:
        codes, latents, graph = self._listen(audio, state.graph)
        return codes, Ns3EncoderState(graph, self._tracker.step(latents, state.timbre))

    def encoder_flush(self, state: Ns3EncoderState) -> Tensor:
        return self._owed(state.graph)[0]

    def encoder_timbre(self, state: Ns3EncoderState) -> Tensor | None:
        """The running estimate (B, 256), None in the first half second."""
        return self._tracker.estimate(state.timbre)

    def encode_with_timbre(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        codes, latents, state = self._listen(audio, self.encoder.initial_state(audio.shape[0]))
        last_codes, last_latents = self._owed(state)
        whole = torch.cat((latents, last_latents), dim=1)
        return torch.cat((codes, last_codes), dim=2), self.talker({"latents": whole})

    def decoder_flush(self, timbre: Tensor, state: GraphState) -> Tensor:
        nothing = torch.zeros(timbre.shape[0], CODE_LAYERS, self.decoder.delay, dtype=torch.long)
        return self.decoder_step(nothing, timbre, state, coming=0)[0]

    def convert_codes(self, codes: Tensor, source: Tensor | None, target: Tensor) -> Tensor:
        return Ns3Model.convert_codes(cast(Ns3Model, self), codes, source, target)

    def convert_timbre(self, source: Tensor | None, target: Tensor) -> Tensor:
        return Ns3Model.convert_timbre(cast(Ns3Model, self), source, target)

    def _listen(
        self, audio: Tensor, state: GraphState, coming: int = ENDLESS
    ) -> tuple[Tensor, Tensor, GraphState]:
        """audio (B, 200 n) -> codes (B, 6, m), latents (B, m, 256) and the state after it."""
        codes, latents = [_no_codes(audio)], [audio.new_zeros(audio.shape[0], 0, TIMBRE_DIM)]
        for hop in audio.split(HOP, dim=1) if audio.shape[1] else ():
            found, state = self.encoder.step({"audio": hop}, state, coming)
            codes += found[:1]
            latents += found[1:]
            coming -= 1
        return torch.cat(codes, dim=2), torch.cat(latents, dim=1), state

    def _owed(self, state: GraphState) -> tuple[Tensor, Tensor]:
        """Codes and latents of the frames still in the graph when the input has ended."""
        silence = torch.zeros(state.tensors[0].shape[0], self.encoder.delay * HOP)
        return self._listen(silence, state, coming=0)[:2]


class _Talker:
    """The timbre encoder as :class:`TimbreTracker` wants it."""

    position = torch.zeros(TIMBRE_DIM)

    def __init__(self, model: OnnxModel) -> None:
        self._model = model

    def __call__(self, latents: Tensor) -> Tensor:
        return self._model.talker({"latents": latents})


CLASSES: dict[str, type[OnnxLive] | type[OnnxNs3]] = {"live": OnnxLive, "ns3": OnnxNs3}


def load_exported(folder: Path) -> OnnxLive | OnnxNs3:
    """The model in a folder that :func:`facodec.onnx.export.export` wrote.

    Raises ValueError where it is damaged, was exported for more than one hop a call, or
    ONNX Runtime is missing.
    """
    try:
        need_plain(folder / SIDECAR)
        description = read_json(folder / SIDECAR, LARGEST_JSON)
        found, hops = description["format"], description["hops_per_call"]
        if found != FORMAT or hops != 1:
            raise ValueError(
                f"expected format {FORMAT!r} for 1 hop a call, got {found!r} for {hops}"
            )
        return CLASSES[description["model"]](folder, description)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        missing = "there is no " if isinstance(error, KeyError) else ""
        raise ValueError(
            f"cannot read an exported model from {shown(folder)}: {missing}{error}"
        ) from error


def _identity(description: dict[str, Any]) -> ModelIdentity:
    """Identity of the model in the graphs; older ones say its name alone."""
    found = ModelIdentity.parse(description.get("identity", description["model"]))
    if found.name != description["model"]:
        raise ValueError(f"expected graphs of model {description['model']!r}, got {found}")
    return found


def _check_states(states: dict[str, dict[str, Any]]) -> None:
    """Raises ValueError for what cannot be the state of a graph, before memory is taken for it."""
    sizes = []
    for name, state in states.items():
        shape, initial = state["shape"], state["initial"]
        whole = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
        if not (whole and isinstance(_dtype(state["dtype"]), torch.dtype) and initial == initial):
            raise ValueError(f"expected sizes, a type and a number for the state {name}")
        sizes.append(math.prod(shape))
    if sum(sizes) > LARGEST_STATE:
        raise ValueError(f"expected states of at most {LARGEST_STATE} numbers, got {sum(sizes)}")


def _session(folder: Path, graph: dict[str, Any]) -> Any:
    runtime, path = needed("onnxruntime"), folder / graph["file"]
    need_plain(path)
    if "sha256" in graph:
        check_digest(path, graph["sha256"])
    options = runtime.SessionOptions()
    # A step is too small to share between threads.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own errors have no common base
        raise ValueError(f"cannot read a graph from {path}: {error}") from error


def _dtype(name: str) -> torch.dtype:
    return cast(torch.dtype, getattr(torch, name))


def _no_codes(like: Tensor) -> Tensor:
    return like.new_zeros(like.shape[0], CODE_LAYERS, 0, dtype=torch.long)
