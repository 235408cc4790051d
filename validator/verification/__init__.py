"""Checking a fine-tuning provider without any chain: `touchstone plant` and `touchstone verify`."""
