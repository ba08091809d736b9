"""Many streams of any model: states in arenas, steps in batches, conversion."""
