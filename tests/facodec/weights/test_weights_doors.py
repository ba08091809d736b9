"""Files of weights and voices that are damaged or malicious: a sentence, and no memory taken."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from facodec.bundled.model import LiveModel
from facodec.bundled.storage import DIGEST, SIZES, WEIGHTS, load_live, save_live
from facodec.codec import Codec
from facodec.config import LiveConfig
from facodec.identity import ModelIdentity
from facodec.loading import load
from facodec.reasons import FileError
from facodec.weights import bundled_path
from facodec.weights.reading import WeightsError, read_config, read_pickled, read_tensors
from facodec.weights.speakers import VECTORS as SPEAKERS
from facodec.weights.speakers import load_speakers, save_speakers
from facodec.weights.timbres import NOTES, VECTORS, load_voices, save_voices, voice_notes

GIGABYTES = 6 << 30
NOBODY = 65534


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ('{"content_width": 1000000000}', "content_width from 1 to 2048, got 1000000000"),
        ('{"content_blocks": 1000}', "content_blocks from 1 to 64"),
        ('{"bands": 1.5}', "expected bands"),
        ('{"bands": true}', "expected bands"),
        ('{"depth": 3}', r"got \['depth'\]"),
        ("[1]", "got list"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
    ],
)
def test_sizes_that_are_no_model(sizes: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / SIZES).write_text(sizes)
    with pytest.raises(FileError, match=rf"model\.json.*{sentence}"):
        read_config(tmp_path / SIZES, LiveConfig)


def test_sizes_are_compared_with_the_weights_before_memory_is_taken(tmp_path: Path) -> None:
    """A model of these sizes would take 13 GB; this process may have less."""
    shutil.copy(bundled_path() / WEIGHTS, tmp_path)
    sizes = _sizes_alone(bundled_path())
    big = {name: 64 if name.endswith("_blocks") else 2048 for name in sizes}
    (tmp_path / SIZES).write_text(json.dumps(big))
    program = (
        "import sys; from pathlib import Path; from facodec.bundled.storage import load_live\n"
        "try: load_live(Path(sys.argv[1]))\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES, GIGABYTES)),
    )  # fmt: skip
    assert "does not fit its model.json" in done.stdout, done.stderr[-500:]


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    shutil.copytree(bundled_path(), tmp_path / "m")
    tensors = read_tensors(tmp_path / "m" / WEIGHTS)
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = float("nan")
    save_tensors(tensors, tmp_path / "m" / WEIGHTS)
    (tmp_path / "m" / SIZES).write_text(json.dumps(_sizes_alone(tmp_path / "m")))
    with pytest.raises(FileError, match="not finite"):
        load_live(tmp_path / "m")


def test_a_bit_that_changed_is_noticed_where_a_digest_lies_beside_the_weights(
    tmp_path: Path,
) -> None:
    """A number of the decoder, which no identity tells of."""
    shutil.copytree(bundled_path(), tmp_path / "m")
    path = tmp_path / "m" / WEIGHTS
    place = _place_of_a_decoders_number(path)
    flip_a_bit(path, place)
    with pytest.raises(
        WeightsError, match=r"live\.safetensors is damaged.*SHA-256 [0-9a-f]{64}, g"
    ):
        load_live(tmp_path / "m")
    (tmp_path / "m" / SIZES).write_text(json.dumps(_sizes_alone(tmp_path / "m")))
    assert load(tmp_path / "m").identity == load().identity
    save_live(load_live(tmp_path / "m"), tmp_path / "again")
    load_live(tmp_path / "again")
    flip_a_bit(tmp_path / "again" / WEIGHTS, place)
    with pytest.raises(WeightsError, match="is damaged"):
        load_live(tmp_path / "again")


def test_a_bit_that_changed_in_an_archive_is_noticed(tmp_path: Path) -> None:
    """PyTorch reads them without a look at their checksums."""
    torch.save({"a": torch.zeros(10_000)}, tmp_path / "x.bin")
    flip_a_bit(tmp_path / "x.bin", 20_000)
    with pytest.raises(WeightsError, match=r"x\.bin is damaged: x/data/0 in it has another"):
        read_pickled(tmp_path / "x.bin")


def flip_a_bit(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def _place_of_a_decoders_number(path: Path) -> int:
    """Byte of a safetensors file in which a number begins that only the decoder uses."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    parts = json.loads(data[8 : 8 + size])
    name = next(name for name in parts if name.startswith(tuple(LiveModel.decoding_parts)))
    return 8 + size + int(parts[name]["data_offsets"][0])


def _sizes_alone(folder: Path) -> dict[str, int]:
    """The sizes of a model without the digest of its weights, as in older folders."""
    values = json.loads((folder / SIZES).read_text())
    return {name: value for name, value in values.items() if name != DIGEST}


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(4 << 20)}, tmp_path / "plain.bin")
    with (
        zipfile.ZipFile(tmp_path / "plain.bin") as plain,
        zipfile.ZipFile(tmp_path / "small.bin", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    assert (tmp_path / "small.bin").stat().st_size < 100_000
    with pytest.raises(WeightsError, match=r"small\.bin would unpack from"):
        read_tensors(tmp_path / "small.bin")
    assert read_tensors(tmp_path / "plain.bin")["a"].shape == (4 << 20,)


def test_views_that_are_larger_than_their_file(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "x.bin")
    with pytest.raises(WeightsError, match="would take more than its"):
        read_pickled(tmp_path / "x.bin")


def test_what_is_no_file_of_weights(tmp_path: Path) -> None:
    (tmp_path / "zero.bin").symlink_to("/dev/zero")
    for name in ("zero.bin", "none.bin", "none.safetensors"):
        with pytest.raises(WeightsError, match=rf"{name} is (no plain file|not there)"):
            read_tensors(tmp_path / name)
    for data in (b"", b"PK\x03\x04", b"\x80\x02.", bytes(200)):
        (tmp_path / "x.bin").write_bytes(data)
        with pytest.raises(WeightsError, match=r"not a file of plain tensors|expected tensors"):
            read_tensors(tmp_path / "x.bin")
    (tmp_path / "x.bin").write_bytes(b"hello" * 50)  # of which PyTorch says: 101
    with pytest.raises(WeightsError, match=r"x\.bin: not a file of plain tensors: it is damaged"):
        read_tensors(tmp_path / "x.bin")


def test_a_folder_without_weights_is_told_what_belongs_there(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with pytest.raises(FileError, match=r"expected .*live\.safetensors or .*\.bin\), got other$"):
        load(tmp_path)
    (tmp_path / WEIGHTS).symlink_to(WEIGHTS)
    with pytest.raises(WeightsError, match=r"live\.safetensors is no plain file"):
        read_tensors(tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=r"no model 'b\\+xffd'"):
        load(os.fsdecode(b"b\xffd"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_weights_that_must_not_be_read() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / WEIGHTS).write_bytes(b"x")
        (folder / WEIGHTS).chmod(0)
        (folder / "closed").mkdir(mode=0)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(WeightsError, match=rf"cannot read .*{WEIGHTS}: no permission"):
                read_tensors(folder / WEIGHTS)
            with pytest.raises(ValueError, match=r"cannot read the folder .*closed: no permission"):
                load(folder / "closed")
        finally:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("vector", "sentence"),
    [
        (np.zeros(255, np.float32), r"256 floats for voice 'a', got float32 of shape \(255,\)"),
        (np.zeros((2, 256), np.float32), "256 floats"),
        (np.zeros(256, np.int64), "got int64"),
        (np.full(256, np.nan, np.float32), "finite numbers"),
        (np.full(256, np.inf, np.float32), "finite numbers"),
    ],
)
def test_bundled_voices_that_are_none(vector: np.ndarray, sentence: str, tmp_path: Path) -> None:
    save_file({"a": vector}, tmp_path / VECTORS)
    with pytest.raises(FileError, match=rf"voices\.safetensors.*{sentence}"):
        load_voices(tmp_path, ModelIdentity("live"))


def test_notes_that_are_none(tmp_path: Path) -> None:
    for text in ("[]", '{"a": 1}', "{", "[" * 100_000):
        (tmp_path / NOTES).write_text(text)
        with pytest.raises(FileError, match=r"voices\.json is damaged"):
            voice_notes(tmp_path)


def test_a_bit_that_changed_in_voices_or_speakers_is_noticed(tmp_path: Path, live: Codec) -> None:
    assert live.speakers is not None
    save_voices(tmp_path, live.voices, live.identity)
    save_speakers(tmp_path, live.speakers, live.identity)
    for name, read in ((VECTORS, load_voices), (SPEAKERS, load_speakers)):
        assert read(tmp_path, live.identity)
        data = bytearray((tmp_path / name).read_bytes())
        data[-100] ^= 1
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FileError, match=rf"{name}: it is damaged, or not as it was written"):
            read(tmp_path, live.identity)
