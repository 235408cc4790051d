"""`touchstone simulate`: a whole network on one machine, every part of it real."""
