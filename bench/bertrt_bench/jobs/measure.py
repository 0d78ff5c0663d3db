"""Run the job and the call by turns; kill the job and go on."""

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertrt_bench.jobs.texts import vary, write_csv

__all__ = ["JobsResult", "Kill", "measure_jobs"]

_BETWEEN_SAMPLES = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Kill:
    """A SIGKILL: seconds after the process began, and bytes of the output that were kept."""

    seconds: float
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class JobsResult:
    """A job of `rows` rows with different texts, beside one call on the same texts.

    call_seconds: of `classifier(texts)` alone, a round each; job_seconds: of the whole process,
    from its start to its end, reading and writing included.
    call_memory, job_memory: resident memory over the last round, (seconds, MB of 10^6 bytes).
    kills: of one more job; identical: whether its output is that of the others, byte for byte.
    """

    model: str
    rows: int
    input_mb: float
    call_seconds: list[float]
    job_seconds: list[float]
    call_memory: list[tuple[float, float]]
    job_memory: list[tuple[float, float]]
    kills: list[Kill]
    identical: bool

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "JobsResult":
        """What `to_json` gave."""
        return cls(**{**content, "kills": [Kill(**kill) for kill in content["kills"]]})


def measure_jobs(
    model: str,
    artifact: Path,
    sentences: list[str],
    rows: int,
    rounds: int,
    kills: int,
    work: Path,
    on_progress: Callable[[str], None],
) -> JobsResult:
    """Measure in `work`, where files are made; kills: how many times to stop the last job."""
    work.mkdir(parents=True, exist_ok=True)
    source, output = work / "in.csv", work / "out.csv"
    on_progress(f"making {rows:,} texts")
    write_csv(vary(sentences, rows), source)
    call = [sys.executable, "-m", "bertrt_bench.jobs.in_memory", str(artifact), str(source)]
    job = [sys.executable, "-m", "bertrt", "classify", str(artifact), "--device", "cpu"]
    job += ["--precision", "int8", "--input", str(source), "--output"]
    call_seconds, job_seconds, digests = [], [], set()
    call_memory: list[tuple[float, float]] = []
    job_memory: list[tuple[float, float]] = []
    for number in range(1, rounds + 1):
        on_progress(f"round {number} of {rounds}: in memory")
        printed, call_memory = _sampled(call)
        call_seconds.append(float(printed.split()[0]))
        on_progress(f"round {number} of {rounds}: the job")
        started = time.perf_counter()
        _, job_memory = _sampled([*job, str(output), "--overwrite"])
        job_seconds.append(time.perf_counter() - started)
        digests.add(_digest(output))
    killed = work / "killed.csv"
    killed.unlink(missing_ok=True)
    shutil.rmtree(_partial(killed), ignore_errors=True)
    resumed = [*job, str(killed), "--resume"]
    done = [_kill(resumed, killed, min(job_seconds) / (kills + 1), n, on_progress)
            for n in range(1, kills + 1)]  # fmt: skip
    on_progress("the rest of the killed job")
    _sampled(resumed)
    digests.add(_digest(killed))
    return JobsResult(
        model=model,
        rows=rows,
        input_mb=source.stat().st_size / 1e6,
        call_seconds=call_seconds,
        job_seconds=job_seconds,
        call_memory=call_memory,
        job_memory=job_memory,
        kills=done,
        identical=len(digests) == 1,
    )


def _sampled(command: list[str]) -> tuple[str, list[tuple[float, float]]]:
    """What a command prints, and its resident memory over time; RuntimeError where it fails."""
    samples = []
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            resident = _resident_mb(process.pid)
            if resident:
                samples.append((round(time.perf_counter() - started, 2), resident))
            time.sleep(_BETWEEN_SAMPLES)
        printed, complaint = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {complaint}")
    return printed, samples


def _kill(
    command: list[str],
    output: Path,
    longest: float,
    number: int,
    on_progress: Callable[[str], None],
) -> Kill:
    """Start a job, and kill it at a random moment before `longest` seconds."""
    on_progress(f"kill {number}")
    seconds = random.uniform(1, longest)  # noqa: S311 -- no secret
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the job ended with {process.returncode} before it was killed")
    rows = _partial(output) / "rows"
    return Kill(round(seconds, 2), rows.stat().st_size if rows.exists() else 0)


def _partial(output: Path) -> Path:
    return Path(f"{output}.partial")


def _resident_mb(process: int) -> float:
    """Resident memory in MB (10^6 bytes); 0 where the process is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
