"""`touchstone tournament`: many rounds of every strategy under every scheme, in a store that any stop leaves whole."""
