"""Exactness that the codec's laws are tested to, wherever they hold: one bound for sound and
numbers, one for codes.

Streams equal offline calls, batches equal their members, compiled code and exported graphs equal
PyTorch, and servers equal them all, but for rounding. How much that is depends on the CPU: on the
order in which its vectors, its caches and its libraries add up. So the bounds are relative to the
signal, with room on either side:

- Rounding. Float32 rounds to 2^-24 = 6e-8; sums over tens of layers make of that at most 1.2e-5 of
  the largest sample with trained weights, and 3.3e-5 in a few samples of a net of random ones, on
  the CPUs tried. :data:`PEAK` leaves six times as much, :data:`POWER` fifty times.
- Faults. An error of -60 dB exceeds the bounds nine times; a shift by one sample, another frame,
  state, timbre or seed more often, half precision twice (``tests/facodec/test_exactness.py``).

Codes are choices between words, which no bound softens: they are equal. Only where two words are as
near to what was heard as float32 can tell (:data:`TIE`), either may be taken. That is proven for
each code that differs, by asking the model, which goes on with what was taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from facodec.config import CODE_LAYERS, HOP
from facodec.quantizer import Places, Words

PEAK = 2e-4
"""Share of the largest sample wanted that a sample may be off."""
POWER = 9e-5
"""The norm of what is off, of the norm of the signal wanted: -81 dB."""
SILENCE = 1e-6
"""Most that anything may be off: a thirtieth of a step of 16 bits."""
TIE = 1e-5
"""Amount by which a word's cosine with what was heard may be smaller than the best word's: some
times what rounding makes of it, and exceeded in 9,996 of 10,000 choices."""
MOST_TIES = 4
"""Ties in one signal that are tried out, each way."""

worst: dict[str, tuple[float, str]] = {}
"""The largest error of each kind so far, as a share of its bound, and the test that had it."""


def assert_equal_audio(found: Any, wanted: Any) -> None:
    """Assert that sound (..., N) is as wanted but for rounding. For arrays and tensors."""
    _assert_within("sound", found, wanted)


def assert_equal_numbers(found: Any, wanted: Any) -> None:
    """Assert that timbres, latents, features or states are as wanted but for rounding; the bounds
    are relative to the largest number of each array."""
    _assert_within("numbers", found, wanted)


def assert_equal_halves(found: Any, wanted: Any) -> None:
    """Assert that numbers which were rounded to 16 bits are as wanted but for rounding, which may
    have sent them either way."""
    ours, theirs = _tensor(found).double(), _tensor(wanted).double()
    step = theirs.abs() * 2.0**-10 + 2.0**-24
    assert ours.shape == theirs.shape and bool(((ours - theirs).abs() <= step).all())


def assert_equal_codes(found: Any, model: Any, audio: Any) -> None:
    """Assert that codes ([B,] K, T) are those of the model for audio ([B,] N), but for ties.

    ``model`` computes them anew in PyTorch's operations.
    """
    codes, heard = _tensor(found), _tensor(audio)
    codes, heard = (codes, heard) if codes.ndim == 3 else (codes.unsqueeze(0), heard.unsqueeze(0))
    heard = F.pad(heard, (0, -heard.shape[1] % HOP))
    with torch.inference_mode():
        wanted = model.encode(heard)[:, : codes.shape[1]]
    assert codes.shape == wanted.shape, f"expected codes {wanted.shape}, got {codes.shape}"
    if torch.equal(codes, wanted):
        return
    with _taking(codes, CODE_LAYERS - _quantizers(model)) as short, torch.inference_mode():
        forced = model.encode(heard)[:, : codes.shape[1]]
    different = int((codes != wanted).sum())
    assert torch.equal(codes, forced), "codes that no choice between words explains"
    excess = max(short)
    assert excess <= TIE, f"{different} codes differ, words farther by up to {excess:.2g}"
    _note("codes", excess / TIE)


def assert_equal_speech(found: Any, speak: Callable[[], Any]) -> None:
    """Assert that sound is what ``speak`` makes with a model in PyTorch's operations, but for
    rounding and for ties in the codes that it goes through."""
    with _choosing(frozenset()) as ties:
        wanted = speak()
    near = sorted(ties, key=lambda tie: ties[tie])[:MOST_TIES]
    others = (c for size in range(1, len(near) + 1) for c in combinations(near, size))
    if _error(found, wanted) <= 1.0 or not near:
        return assert_equal_audio(found, wanted)
    for other in others:
        with _choosing(frozenset(other)):
            if _error(found, speak()) <= 1.0:
                return None
    return assert_equal_audio(found, wanted)


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(values).detach()


def _error(found: Any, wanted: Any) -> float:
    """The larger of both errors, as a share of its bound; infinite for other shapes and for what
    is no number."""
    ours, theirs = _tensor(found).double(), _tensor(wanted).double()
    if ours.shape != theirs.shape:
        return float("inf")
    if not theirs.numel():
        return 0.0
    off = ours - theirs
    if not bool(off.isfinite().all()):
        return float("inf")
    peak = float(off.abs().max()) / max(PEAK * float(theirs.abs().max()), SILENCE)
    room = POWER * float(theirs.norm()) + SILENCE * theirs.numel() ** 0.5
    return max(peak, float(off.norm()) / room)


def _assert_within(kind: str, found: Any, wanted: Any) -> None:
    assert _tensor(found).shape == _tensor(wanted).shape, (
        f"expected {kind} {tuple(_tensor(wanted).shape)}, got {tuple(_tensor(found).shape)}"
    )
    error = _error(found, wanted)
    assert error <= 1.0, f"{kind} off by {error:.3g} times what rounding may do"
    _note(kind, error)


def _note(kind: str, error: float) -> None:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("::")[2].partition(" ")[0]
    worst[kind] = max(worst.get(kind, (0.0, "")), (error, test))


def _quantizers(model: Any) -> int:
    return sum(isinstance(module, Words) for module in model.modules())


def _nearness(quantizer: Words, projected: Tensor) -> Tensor:
    """Scores of all words: cosines, or distances relative to the words' usual length."""
    scores = quantizer.scores(projected)
    if isinstance(quantizer, Places):
        return scores / quantizer._codebook.weight.square().sum(-1).mean()
    return scores


@contextmanager
def _taking(codes: Tensor, first: int) -> Iterator[list[float]]:
    """Quantizers take these codes (B, K, T), the first of them the row ``first`` and so on; by how
    much each is short of the best is listed."""
    short = [0.0]
    past: dict[int, int] = {}
    quantizers: dict[int, int] = {}

    def nearest(quantizer: Words, projected: Tensor) -> Tensor:
        nearness = _nearness(quantizer, projected)
        row = first + quantizers.setdefault(id(quantizer), len(quantizers))
        frames, start = projected.shape[-2], past.get(id(quantizer), 0)
        past[id(quantizer)] = start + frames
        if row >= codes.shape[1]:
            return nearness.argmax(-1)
        taken = codes[:, row, start : start + frames].view(projected.shape[:-1])
        near = nearness.gather(-1, taken.unsqueeze(-1)).squeeze(-1)
        short.extend((nearness.amax(-1) - near).flatten().tolist())
        return taken

    with patch.object(Words, "nearest", nearest):
        yield short


Choice = tuple[int, int]
"""The how-manieth quantizer, and the how-manieth of its vectors."""


@contextmanager
def _choosing(second: frozenset[Choice]) -> Iterator[dict[Choice, float]]:
    """Quantizers take the second best in these choices; other ties, and how near, are noted."""
    ties: dict[Choice, float] = {}
    past: dict[int, int] = {}
    quantizers: dict[int, int] = {}

    def nearest(quantizer: Words, projected: Tensor) -> Tensor:
        best = _nearness(quantizer, projected).flatten(0, -2).topk(2, dim=-1)
        at = quantizers.setdefault(id(quantizer), len(quantizers))
        start = past.get(id(quantizer), 0)
        past[id(quantizer)] = start + len(best.values)
        taken, gap = best.indices[:, 0].clone(), best.values[:, 0] - best.values[:, 1]
        for row in (gap <= TIE).nonzero().flatten().tolist():
            ties[at, start + row] = float(gap[row])
        for which, row in second:
            if which == at and start <= row < past[id(quantizer)]:
                taken[row - start] = best.indices[row - start, 1]
        return taken.view(projected.shape[:-1])

    with patch.object(Words, "nearest", nearest):
        yield ties
