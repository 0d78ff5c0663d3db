"""What `bertrt doctor` knows: facts about this machine, their faults, and what mends those."""

from bertrt.diagnosis.facts import Facts, gather
from bertrt.diagnosis.failures import cuda_failure, tensorrt_failure
from bertrt.diagnosis.fault import Fault
from bertrt.diagnosis.faults import find_faults, find_notes

__all__ = [
    "Facts",
    "Fault",
    "cuda_failure",
    "find_faults",
    "find_notes",
    "gather",
    "tensorrt_failure",
]
