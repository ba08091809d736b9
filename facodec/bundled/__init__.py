"""The bundled causal model: layers, features, synthesis, weights, and its steps."""
