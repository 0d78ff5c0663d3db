"""Bulk jobs: files of texts in, the same rows with labels and scores out.

file -> Chunk -> logits -> columns -> file, a chunk at a time (`job.py`); what is done is kept in a
folder beside the output (`state.py`), from which a job that was killed goes on.
"""

from bertrt.jobs.api import classify_files
from bertrt.jobs.formats import Dialect
from bertrt.jobs.job import JobReport, Progress

__all__ = ["Dialect", "JobReport", "Progress", "classify_files"]
