"""What the operator of a validator does beside running it: `touchstone validator init`, `check` and the money."""
