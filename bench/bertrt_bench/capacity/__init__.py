"""How many machines: a measured run of one model, and what follows from it for a cluster."""
