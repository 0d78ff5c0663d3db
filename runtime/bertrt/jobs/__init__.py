"""Bulk jobs: files of texts in, the same rows with labels and scores out.

file -> Chunk -> logits -> columns -> file, a chunk at a time (`job.py`); what is done is kept in a
folder beside the output (`state.py`), from which a job that was killed goes on.
"""

from bertrt.jobs.formats import Dialect, FileFormat, file_format
from bertrt.jobs.job import JobFiles, JobReport, Progress, classify_files
from bertrt.jobs.scoring import Scorer, TextScorer, ZeroShotScorer

__all__ = [
    "Dialect",
    "FileFormat",
    "JobFiles",
    "JobReport",
    "Progress",
    "Scorer",
    "TextScorer",
    "ZeroShotScorer",
    "classify_files",
    "file_format",
]
