"""Many streams in turns of one model's threads."""
