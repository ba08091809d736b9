"""Parts of ``facodec bench``, a module each."""
