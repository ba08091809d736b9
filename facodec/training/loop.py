"""The training loop: optimiser, averaged weights, checkpoints that resume exactly, a log."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from facodec.bundled.model import LiveModel
from facodec.config import LiveConfig
from facodec.files import write_bytes
from facodec.reasons import FileError, shown
from facodec.training.batches import Sampler
from facodec.training.coded import CodedCorpus
from facodec.training.config import TrainConfig
from facodec.training.content import ContentObjective
from facodec.training.corpus import Corpus
from facodec.training.decoding import CodedSampler, DecoderObjective
from facodec.training.detail import DetailObjective
from facodec.training.objective import Objective
from facodec.weights.reading import read_pickled

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
HELD = (
    *("step", "sizes", "model", "average", "optimizer", "networks", "usage"),
    *("random", "torch_random", "sampler"),
)
"""Names of all that a checkpoint holds."""
SHOWN = ("mel", "pitch", "kept")
"""Losses that the progress bar shows, where the stage has them."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """Warm-up, a plateau, then a cosine down to a hundredth over the last ``decay`` of the run."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    decay_from = config.steps * (1.0 - config.decay)
    late = min(1.0, max(0.0, (step - decay_from) / max(1.0, config.steps - decay_from)))
    return config.learning_rate * rise * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * late)))


class Trainer:
    """One run in one folder: ``config.json``, ``checkpoint.pt``, ``log.jsonl``."""

    def __init__(
        self,
        corpus: Corpus | CodedCorpus,
        config: TrainConfig,
        folder: Path,
        device: str = "cpu",
        initial: dict[str, torch.Tensor] | None = None,
        helpers: dict[str, torch.Tensor] | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder = config, folder
        self.model = _model(config, initial).to(device)
        self.average = deepcopy(self.model).requires_grad_(False)
        self.sampler, self.objective = _stage(corpus, self.model, config)
        networks = self.objective.networks
        if helpers is not None:
            _load_fitting(networks, helpers)
        self.optimizer = torch.optim.AdamW(
            [p for net in (self.model, networks) for p in net.parameters() if p.requires_grad],
            lr=config.learning_rate,
            betas=(0.8, 0.99),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        config.save(folder / "config.json")
        if (folder / CHECKPOINT).exists():
            self._resume()

    def train(
        self,
        minutes: float = math.inf,
        save_minutes: float = 3.0,
        log_every: int = 50,
        on_save: Callable[[Trainer], None] | None = None,
    ) -> None:
        """Train until ``config.steps`` or for about ``minutes``; Ctrl-C saves and returns."""
        stop = _StopRequest()
        started = saved = time.monotonic()
        sums: dict[str, float] = {}
        counted = 0  # fewer than log_every after resuming between two lines
        shape: dict[str, Any] = {"total": self.config.steps, "initial": self.step}
        bar = tqdm(desc="training", unit="step", disable=None, **shape)
        with bar, stop:
            while self.step < self.config.steps and not stop.asked:
                numbers = self.train_step()
                for name, value in numbers.items():
                    sums[name] = sums.get(name, 0.0) + value
                counted += 1
                bar.update()
                if self.step % log_every == 0:
                    means = {name: value / counted for name, value in sums.items()}
                    sums, counted = {}, 0
                    self.log(means)
                    shown = {k: f"{v:.3f}" for k, v in means.items() if k in SHOWN}
                    bar.set_postfix(shown)
                if time.monotonic() - started > 60.0 * minutes:
                    break
                if time.monotonic() - saved > 60.0 * save_minutes:
                    self.save()
                    saved = time.monotonic()
                    if on_save:
                        on_save(self)
        self.save()
        if on_save:
            on_save(self)

    def train_step(self) -> dict[str, float]:
        """One optimiser step on one batch; its losses."""
        c = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, c)
        batch = self.sampler.draw()
        device = self.model.average_first.device
        moved = type(batch)(**{k: v.to(device) for k, v in vars(batch).items()})
        losses = self.objective(moved, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), c.clip)
        self.optimizer.step()
        self.step += 1
        self._average()
        numbers: dict[str, float] = losses.numbers()
        return numbers

    def log(self, values: dict[str, float]) -> None:
        """Append one line to the run's log."""
        line = {"step": self.step, "time": round(time.time(), 1), **values}
        with (self.folder / LOG).open("a") as f:
            f.write(json.dumps(line) + "\n")

    @torch.no_grad()
    def _average(self) -> None:
        rate = max(1.0 - self.config.average, 1.0 / (self.step + 1))
        for ours, theirs in zip(
            self.average.state_dict().values(), self.model.state_dict().values(), strict=True
        ):
            ours.lerp_(theirs, rate)

    def save(self) -> None:
        """Write everything the next step depends on; the old file stays until the new one is."""
        state = {
            "step": self.step,
            "sizes": asdict(self.model.config),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "networks": self.objective.networks.state_dict(),
            "usage": {k: v.usage for k, v in self.objective.keepers.items()},
            "random": self.objective.random.get_state(),
            "torch_random": torch.get_rng_state(),
            "sampler": json.dumps(self.sampler.random.bit_generator.state),
        }
        data = io.BytesIO()
        torch.save(state, data)
        write_bytes(self.folder / CHECKPOINT, data.getvalue())

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        state = read_checkpoint(path)
        with _sentences(path):
            self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.objective.networks.load_state_dict(state["networks"])
        for name, usage in state["usage"].items():
            self.objective.keepers[name].usage = usage
        self.objective.random.set_state(state["random"])
        torch.set_rng_state(state["torch_random"])
        self.sampler.random.bit_generator.state = json.loads(state["sampler"])


def _model(config: TrainConfig, initial: dict[str, torch.Tensor] | None) -> LiveModel:
    """One with the initial weights and in their form; detail's words are of the stage's own."""
    kept = "detail_quantizer.in_proj.weight"
    space = len(initial[kept]) if initial is not None and kept in initial else 0
    if config.stage in ("detail", "content"):
        space = config.detail_space
    model = LiveModel(LiveConfig(detail_space=space))
    if initial is not None:
        own, new = model.state_dict(), "detail_quantizer."
        fitting = {k: v for k, v in initial.items() if k in own and v.shape == own[k].shape}
        lost = {k for k in own.keys() ^ fitting.keys() if not (space and k.startswith(new))}
        model.load_state_dict(initial if lost else {**own, **fitting})
    return model


def _stage(corpus: Corpus | CodedCorpus, model: LiveModel, config: TrainConfig) -> tuple[Any, Any]:
    """A sampler and an objective that takes its batches."""
    if isinstance(corpus, CodedCorpus):
        sampler = CodedSampler(corpus, config)
        if config.stage == "detail":
            return sampler, DetailObjective(model, config, sampler)
        if config.stage == "content":
            return sampler, ContentObjective(model, config, sampler)
        return sampler, DecoderObjective(model, config)
    return Sampler(corpus, config), Objective(model, config, int(corpus.speakers.max()) + 1)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads the file of :meth:`Trainer.save`. Raises FileError."""
    state = read_pickled(path)
    if not isinstance(state, dict):
        raise FileError(f"{shown(path)}: expected a checkpoint, got {type(state).__name__}")
    return state


def need_checkpoint(folder: Path, config: TrainConfig) -> None:
    """Raises FileError early where a run's folder has a checkpoint that cannot be gone on from: one
    that is damaged, is none, or is of a model of other sizes."""
    path = folder / CHECKPOINT
    if not os.path.lexists(path):
        return
    state = read_checkpoint(path)
    with _sentences(path):
        for name in HELD:
            state[name]
        sizes = LiveConfig(**state["sizes"])
        if config.stage == "detail" and sizes.detail_space != config.detail_space:
            raise ValueError(
                f"expected detail_space {config.detail_space}, got {sizes.detail_space}"
            )
        LiveModel(sizes).load_state_dict(state["model"])


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Makes a FileError of what goes wrong with what a checkpoint holds."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise FileError(
            f"{shown(path)} is not a checkpoint of such a run: {reason}; train into another "
            "folder, or with the settings that it was made with"
        ) from error


def _load_fitting(networks: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load those weights that the networks have in the same shape: other speakers, for one, are
    other outputs."""
    own = networks.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and v.shape == own[k].shape}
    networks.load_state_dict(fitting, strict=False)


class _StopRequest:
    """While open, SIGINT and SIGTERM ask the loop to save and return instead of killing it."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _StopRequest:
        for which in (signal.SIGINT, signal.SIGTERM):
            self._before[which] = signal.signal(which, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)

    def _ask(self, _signum: int, _frame: FrameType | None) -> None:
        self.asked = True
