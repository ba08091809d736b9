"""Training away of noise that a model is given first, which tests of several stages do."""

from __future__ import annotations

import torch

from facodec.training.loop import Trainer


def assert_it_gets_quieter(training: Trainer, count: int) -> None:
    """Silence and noise alone are heard as less loud after ``count`` steps."""
    with torch.no_grad():  # as if noise had been learned
        training.model.head.bias += 12.0
    steps = [training.train_step() for _ in range(count)]
    for name in ("silence", "noise"):
        losses = [step[name] for step in steps]
        assert 0.0 < sum(losses[-3:]) < 0.9 * sum(losses[:3]), losses
