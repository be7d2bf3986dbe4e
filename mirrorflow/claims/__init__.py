"""Claims of the theory with the trials that judge them, one module a topic."""
