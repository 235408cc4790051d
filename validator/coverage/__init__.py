"""How much of a dataset a returned model was trained on: ranks, exact null distributions, share with its interval."""
