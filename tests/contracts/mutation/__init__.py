"""Mutation testing of the contract: `operators` makes the mutants, `python -m tests.contracts.mutation` judges them."""
