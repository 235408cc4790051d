"""The contract against an independent model of it: `reference.py` says what must happen, `rig.py` does it on both."""
