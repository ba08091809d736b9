"""Playing sound out on time: a jitter buffer, and a ring of samples."""
