"""Where a client's sound comes from and goes to: devices and files."""
