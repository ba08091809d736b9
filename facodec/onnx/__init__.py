"""Models as ONNX graphs: writing them, and running them in place of PyTorch."""

from __future__ import annotations

SIDECAR = "facodec.json"
"""In a folder of graphs, the file that explains them."""
