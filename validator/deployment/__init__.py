"""`touchstone contract`: deploys the contract, and recognises it wherever it stands."""
