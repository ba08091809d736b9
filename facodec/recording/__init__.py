"""Recordings as codes, ``.fac`` files: a stream of checked blocks, byte by byte in docs/files.md.

:mod:`.blocks` has the bytes, :mod:`.writing` writes them as they come, :mod:`.scan` finds them
again in what may be cut or damaged, :mod:`.reading` opens files of any version, and :mod:`.whole`
takes a short recording at once. No torch.
"""

SUFFIX = ".fac"
