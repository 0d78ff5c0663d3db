"""Processes that run at the same time, each with its share of the texts."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertrt_bench.processes.memory import Memory, memory_of
from bertrt_bench.processes.worker import Task

__all__ = ["Layout", "Team", "layouts"]


@dataclass(frozen=True, slots=True, order=True)
class Layout:
    """How many processes, and the threads of each."""

    processes: int
    threads: int

    @property
    def title(self) -> str:
        """For tables."""
        return f"{self.processes} × {self.threads}"


def layouts(cpus: int) -> list[Layout]:
    """All ways to give every CPU one thread, one process first; then, of several, each all CPUs."""
    fair = [Layout(n, cpus // n) for n in range(1, cpus + 1) if cpus % n == 0]
    return fair if cpus == 1 else [*fair, Layout(cpus, cpus)]


class Team:
    """Processes that have loaded one artifact, and classified their share once.

    texts: dealt to the processes in turn, as cards are; or, `whole`, all to each.
    load_seconds: of each process; they load one after another, as Python's start does not count.
    digests: of the logits of each process's texts.
    Raises RuntimeError where one ends before it should.
    """

    def __init__(
        self, artifact: Path, layout: Layout, texts: Sequence[str], *, whole: bool = False
    ) -> None:
        self.load_seconds: list[float] = []
        self.digests: list[str] = []
        self._processes: list[subprocess.Popen[str]] = []
        try:
            for number in range(layout.processes):
                share = texts if whole else texts[number :: layout.processes]
                self._start(Task(str(artifact), layout.threads, list(share)))
        except BaseException:
            self.close()
            raise

    def _start(self, task: Task) -> None:
        command = [sys.executable, "-m", "bertrt_bench.processes.worker"]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._processes.append(process)
        self._tell(process, task.to_line())
        answer = self._answer(process)
        self.load_seconds.append(answer["load_seconds"])
        self.digests.append(answer["digest"])

    def run(self, passes: int) -> float:
        """All processes classify their texts so many times; seconds until the last is done."""
        began = time.perf_counter()
        for process in self._processes:
            self._tell(process, f"{passes}\n")
        for process in self._processes:
            self._answer(process)
        return time.perf_counter() - began

    def memory(self) -> Memory:
        """What they take together."""
        return memory_of(process.pid for process in self._processes)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            assert process.stdin is not None and process.stdout is not None
            process.kill()
            process.wait()
            process.stdout.close()
            try:
                process.stdin.close()
            except BrokenPipeError:  # it had not read all
                continue

    @staticmethod
    def _tell(process: "subprocess.Popen[str]", line: str) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError as error:
            raise RuntimeError("a process of the benchmark ended too early") from error

    @staticmethod
    def _answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the benchmark ended; what it printed is above")
        answer: dict[str, Any] = json.loads(line)
        return answer
