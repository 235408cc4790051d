"""What customers ask for: their Orders and data taken in, kept and deleted, and what becomes of their requests."""
