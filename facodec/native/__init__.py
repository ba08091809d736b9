"""The C library: one documented header, compiled on first use where there is a compiler."""
