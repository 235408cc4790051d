"""Who can find the marks: detectors that a miner could run on D_train, and how well each of them does.

A detector gives every row a number; a cheat trains on the rows with the largest ones, or on all others. The detectors
know the schemes, their defaults and the generator, only not the secrets.
"""
