"""The opinion of listeners, as DNSMOS predicts it from the sound alone (Reddy et al., ICASSP 2021
and 2022): a second judge beside PESQ, which a model that was trained on it may please too well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE

Audio = NDArray[np.float32]


def opinion(audio: Audio) -> float:
    """Mean opinion score, 1 to 5, of speech (N,) at 16 kHz, overall. Raises ImportError without
    ``speechmos``."""
    from speechmos import dnsmos

    score: float = dnsmos.run(np.clip(audio, -1.0, 1.0), SAMPLE_RATE)["ovrl_mos"]
    return float(score)
