"""The bundled model's steps in C: the numbers of PyTorch's, and the same bits in any company."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import facodec
from benchmarks.speech.clips import clips
from facodec.bundled.model import LiveModel
from facodec.bundled.steps import FastLive
from facodec.codec import Codec
from facodec.config import CODEBOOK_SIZE, HOP, SAMPLE_RATE, LiveConfig
from facodec.native import compiled
from facodec.states import stack_states, tensors_of, unstack_state
from tests.conftest import missing
from tests.exactness import assert_equal_audio, assert_equal_codes, assert_equal_numbers

MANY = 50
"""Streams: more than one group, and not a whole number of anything."""


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    if os.environ.get(compiled.SWITCH) == "0":
        pytest.skip("compiled code is switched off")
    if compiled.library(compiled.SOURCES) is None:
        missing("a C compiler")


@pytest.fixture
def other_flags(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets a test compile anew, as it likes."""
    compiled.library.cache_clear()
    yield monkeypatch
    compiled.library.cache_clear()


def hops_of(speech: np.ndarray, streams: int, hops: int) -> torch.Tensor:
    """Different parts of speech, (hops, streams, 200)."""
    starts = np.linspace(0, len(speech) - (hops + 1) * HOP, streams).astype(int)
    parts = [speech[start : start + hops * HOP].reshape(hops, HOP) for start in starts]
    return torch.from_numpy(np.stack(parts, axis=1))


def run(fast: FastLive, heard: torch.Tensor, seeds: list[int]) -> tuple[torch.Tensor, ...]:
    """Everything that some streams give, side by side: codes, sound, timbres."""
    batch = heard.shape[1]
    encoder = fast.encoder_state(batch)
    decoder = stack_states([fast.decoder_state(1, seed) for seed in seeds])
    codes, sound, timbres = [], [], []
    for hop in heard:
        found, encoder = fast.encoder_step(hop, encoder)
        timbre = fast.encoder_timbre(encoder)
        spoken, decoder = fast.decoder_step(found, timbre, decoder)
        codes.append(found)
        sound.append(spoken)
        timbres.append(timbre)
    return torch.cat(codes, 2), torch.cat(sound, 1), torch.stack(timbres, 1)


def speak(
    fast: FastLive, codes: torch.Tensor, timbres: torch.Tensor, seeds: list[int]
) -> torch.Tensor:
    """The sound of codes (streams, 6, hops) with timbres (streams, hops, 256)."""
    decoder, parts = stack_states([fast.decoder_state(1, seed) for seed in seeds]), []
    for hop in range(codes.shape[2]):
        part, decoder = fast.decoder_step(codes[:, :, hop : hop + 1], timbres[:, hop], decoder)
        parts.append(part)
    return torch.cat(parts, 1)


@pytest.mark.native
@pytest.mark.law
@torch.inference_mode()
def test_a_stream_gives_the_same_bits_in_any_company(live: Codec, hello: np.ndarray) -> None:
    fast = FastLive(live.model, "native")  # type: ignore[arg-type]
    heard = hops_of(hello, MANY, 12)
    together = run(fast, heard, list(range(MANY)))
    for row in (0, 5, 35, 36, MANY - 1):
        alone = run(fast, heard[:, row : row + 1], [row])
        for ours, theirs in zip(together, alone, strict=True):
            assert torch.equal(ours[row : row + 1], theirs)


@pytest.mark.native
@pytest.mark.law
@torch.inference_mode()
def test_states_are_the_same_bits_too_and_in_their_rows(live: Codec, hello: np.ndarray) -> None:
    fast = FastLive(live.model, "native")  # type: ignore[arg-type]
    rows = torch.tensor([6, 1, 3])
    encoders, alone = fast.encoder_state(7), [fast.encoder_state() for _ in rows]
    for hop in hops_of(hello, 3, 9):
        fast.encoder_step_in_place(hop, encoders, rows)
        alone = [fast.encoder_step(hop[i : i + 1], own)[1] for i, own in enumerate(alone)]
    own = unstack_state(encoders)
    for row, wanted in zip(rows.tolist(), alone, strict=True):
        pairs = zip(tensors_of(own[row]), tensors_of(wanted), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    for row in (0, 2, 4, 5):
        untouched = zip(tensors_of(own[row]), tensors_of(fast.encoder_state()), strict=True)
        assert all(torch.equal(a, b) for a, b in untouched)


@pytest.mark.native
@torch.inference_mode()
def test_nonsense_in_one_stream_harms_no_other(live: Codec, hello: np.ndarray) -> None:
    fast = FastLive(live.model, "native")  # type: ignore[arg-type]
    heard = hops_of(hello, 8, 6)
    wanted = run(fast, heard, [0] * 8)
    heard = heard.clone()
    heard[2, 3], heard[3, 3], heard[4, 3] = torch.nan, torch.inf, 1e30
    found = run(fast, heard, [0] * 8)
    others = [row for row in range(8) if row != 3]
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours[others], theirs[others])
    assert ((found[0] >= 0) & (found[0] < CODEBOOK_SIZE)).all()


@pytest.mark.native
@torch.inference_mode()
def test_what_c_could_not_read_is_refused(live: Codec) -> None:
    fast = FastLive(live.model, "native")  # type: ignore[arg-type]
    encoder, decoder = fast.encoder_state(2), fast.decoder_state(2)
    codes, timbres = torch.zeros(2, 6, 1, dtype=torch.long), torch.zeros(2, 256)
    with pytest.raises(ValueError, match=r"expected \(2, 200\).*, got \(1, 200\)"):
        fast.encoder_step(torch.zeros(1, HOP), encoder)
    with pytest.raises(ValueError, match=r"expected .*float32.*got .*float64"):
        fast.encoder_step(torch.zeros(2, HOP).double(), encoder)
    with pytest.raises(ValueError, match=r"got \(1, 256\)"):
        fast.decoder_step(codes, timbres[:1], decoder)
    for layer, code in ((0, -1), (0, 1024), (1, -2), (5, 1024)):
        bad = codes.clone()
        bad[1, layer] = code
        with pytest.raises(ValueError, match=r"expected codes in 0\.\.1023"):
            fast.decoder_step(bad, timbres, decoder)
    codes[:, 1:] = -1
    assert fast.decoder_step(codes, timbres, decoder)[0].shape == (2, 0)


WIDTHS = ("-march=x86-64-v4", "-march=x86-64-v3", "-march=x86-64")
"""Vectors of 64, 32 and 16 bytes; the last without weights in 16 bits."""


@torch.inference_mode()
@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of x86 compilers")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("trained", [True, False])
def test_vectors_of_any_width_give_the_numbers_of_pytorch(
    live: Codec,
    untrained: Codec,
    hello: np.ndarray,
    width: str,
    trained: bool,
    other_flags: pytest.MonkeyPatch,
) -> None:
    """Trained weights are exact in 16 bits, others are not."""
    features = Path("/proc/cpuinfo").read_text()
    if (width == WIDTHS[0] and "avx512vl" not in features) or "avx2" not in features:
        pytest.skip("this CPU has no such vectors")
    flags = [width if flag.startswith("-march") else flag for flag in compiled.FLAGS]
    other_flags.setattr(compiled, "FLAGS", tuple(flags))
    model: Any = (live if trained else untrained).model
    native, plain = FastLive(model, "native"), FastLive(model, "float32")
    heard = hops_of(hello, 13, 15)
    codes, _, timbres = run(native, heard, [1] * 13)
    wanted, sound, expected = run(plain, heard, [1] * 13)
    audio = heard.transpose(0, 1).flatten(1)
    assert_equal_codes(codes, model, audio)
    assert_equal_codes(wanted, model, audio)
    assert_equal_numbers(timbres, expected)
    assert_equal_audio(speak(native, wanted, expected, [1] * 13), sound)


@torch.inference_mode()
def test_real_speech_differs_by_rounding_alone(
    live: Codec, speech_folder: Path, record_property: Callable[[str, object], None]
) -> None:
    """Codes differ only in ties of two codewords within float32 precision."""
    length = 3 * SAMPLE_RATE
    whole = np.stack([c[:length] for _, c in clips(speech_folder) if len(c) >= length])
    heard = torch.from_numpy(whole.reshape(len(whole), -1, HOP)).transpose(0, 1)
    seeds = list(range(len(whole)))
    plain = FastLive(live.model, "float32")  # type: ignore[arg-type]
    native = FastLive(live.model, "native")  # type: ignore[arg-type]
    wanted, sound, timbres = run(plain, heard, seeds)
    codes = run(native, heard, seeds)[0]
    assert_equal_codes(codes, live.model, whole)
    changed = int((codes != wanted).sum())
    spoken = speak(native, wanted, timbres, seeds)
    noise = (spoken - sound).double().square().mean()
    snr = float(10 * torch.log10(sound.double().square().mean() / noise))
    record_property(
        "measured",
        f"native beside float32 on {len(whole)} clips: {changed} of {codes.numel()} codes differ, "
        f"audio of the same codes {snr:.0f} dB",
    )
    assert_equal_audio(spoken, sound)


def test_without_a_compiler_pytorch_does_it_all(
    other_flags: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other_flags.setenv("XDG_CACHE_HOME", str(tmp_path))
    other_flags.setenv("CC", str(tmp_path / "no-compiler"))
    codec = facodec.load("live")
    assert codec.steps.backend == codec.backend == "float32"
    with pytest.raises(ValueError, match=r"backend 'native' cannot be used here: .*C compiler"):
        facodec.load("live", backend="native")


def test_it_can_be_switched_off(other_flags: pytest.MonkeyPatch) -> None:
    other_flags.setenv(compiled.SWITCH, "0")
    assert facodec.load("live").steps.backend == "float32"


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("-DFACODEC_HOP=160", "expected a C library of HOP 200, got 160"),
        ("-fpack-struct=1", "expected a C library whose Norm has 24 bytes, got 20"),
    ],
)
def test_a_library_of_other_sizes_is_refused_with_a_sentence(
    other_flags: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, flag: str, sentence: str
) -> None:
    """As it would be where one of the two is changed and the other is not."""
    other_flags.setenv(compiled.EXTRA_FLAGS, f"-O0 {flag}")
    assert facodec.load("live").steps.backend == "float32"
    assert sentence in caplog.text
    with pytest.raises(ValueError, match="backend 'native' cannot be used here"):
        facodec.load("live", backend="native")


def test_sizes_that_do_not_fit_are_left_to_pytorch(caplog: pytest.LogCaptureFixture) -> None:
    odd = LiveModel(LiveConfig(content_width=20))
    assert FastLive(odd).backend == "float32"
    assert "the encoder goes without compiled code, which is slower" in caplog.text
