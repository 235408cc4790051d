"""The claims of the vTune paper, measured again: small cells that add up over many stops, and the page of their results.

`python -m benchmarks science/` measures what is missing; `python -m benchmarks --page` rewrites docs/results.md and its
plots from what there is.
"""
