"""Sending over bad links: fewer bits, pauses and gaps, and the entropy coder of codes."""
