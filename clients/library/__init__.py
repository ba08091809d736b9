"""Sessions with a server for programs: connect, send, receive, reconnect."""
