"""Bulk jobs: files of texts in, the same rows with labels and scores out.

file -> Chunk -> logits -> columns -> file, a chunk at a time (`job.py`); what is done is kept in a
folder beside the output (`workplace.py`, `state.py`), from which a job that was killed goes on.
"""
