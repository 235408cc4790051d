"""What a validator shows over HTTP: its health, its metrics, and the evidence of what it has settled."""
