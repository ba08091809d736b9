"""Attacks on a running server: the clients that make them, and what is measured beside them."""
