"""Other engines for the same model, each in a process and, where needed, an environment of its own.

Nothing here imports what an environment may lack; only a peer's own module does.
"""
