"""`touchstone task`: what customers do, as a client of a running validator."""
