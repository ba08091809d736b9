"""Sources and sinks of a client's sound: devices and files."""
