"""The server: who may connect, and what becomes of a connection."""
