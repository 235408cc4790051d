"""A miner: `touchstone miner run`. Simulated miners are the same, with a strategy in place of trainer and server."""
