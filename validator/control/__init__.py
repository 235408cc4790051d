"""How the command line talks to a running daemon: HTTP over a Unix socket that only its owner can open, never TCP.

| file | what it holds |
|---|---|
| `server.py` | the socket and the routes |
| `client.py` | the same routes, as the command line calls them |
| `operations.py` | what the operator is told: status, and the story of one task |
"""
