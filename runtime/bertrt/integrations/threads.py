"""Threads in a process that has been given some of a machine's CPUs."""

import os

__all__ = ["limit_tokenizer_threads"]


def limit_tokenizer_threads(threads: int) -> None:
    """Let the tokenizer use so many threads; it takes one for each CPU of the machine otherwise.

    Only before the process tokenizes its first text. An engine's workers share a machine, and each
    would start as many threads as all of them together may use. RAYON_NUM_THREADS, if it is set,
    stays as it is.
    """
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
