"""What strategies need of the OpenAI wire, under the name that docs/strategies.md gives it."""

from validator.miner.objects import JSON, Refusal

__all__ = ["JSON", "Refusal"]
