"""The protocol without sockets: messages, packets, and sessions of both ends."""
