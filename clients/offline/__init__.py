"""Recordings, references and voices in this process, without a session."""
