"""Two one-CPU actors of Ray beside one process of two threads."""
