"""The small language model that is shipped: every part works with it, without a download."""

from importlib.resources import files

EMBEDDED_MODEL = str(files("validator.base_model"))
EMBEDDED_MODEL_NAME = "touchstone-base"
"""Its name in specs, and its directory."""
