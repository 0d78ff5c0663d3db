"""The measuring itself: peers by turns, each in its process, whatever becomes of one of them."""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from bertrt_bench import prepared
from bertrt_bench.machine import machine_facts, read_bandwidth
from bertrt_bench.pause import PAUSE
from bertrt_bench.peers.environments import environment_python
from bertrt_bench.peers.registry import REFERENCE
from bertrt_bench.peers.remote import PeerError, RemotePeer
from bertrt_bench.plan import Plan, Turn
from bertrt_bench.results import Answers, PeerResult, Results
from bertrt_bench.workloads import TextSet, Workload

__all__ = ["run_benchmark"]

# Of one text, in a turn: as many runs as fit into the time, within these limits.
_LEAST_RUNS, _MOST_RUNS = 3, 50

# A peer that takes longer for a pass runs it in so many rounds only: its noise averages out.
_LONG_SECONDS, _LONG_ROUNDS = 5.0, 2

_CHECK_BATCH = 32

_T = TypeVar("_T")


def run_benchmark(plan: Plan, on_turn: Callable[[Turn, Results], None]) -> Results:
    """Prepare, load, check and time all peers. Raises nothing for a peer that fails.

    Interrupted after a round, it returns the rounds that are whole; before, KeyboardInterrupt.
    """
    return _Run(plan, on_turn).run()


class _Run:
    """One run; `workers` are those peers that still answer."""

    def __init__(self, plan: Plan, on_turn: Callable[[Turn, Results], None]) -> None:
        self.plan = plan
        self.on_turn = on_turn
        self.workers: dict[str, RemotePeer] = {}
        self.folders: dict[str, Path] = {}
        self.right: dict[str, np.ndarray] = {}  # PyTorch's logits of each text
        self.sources = prepared.digests(plan.model.path, plan.calibration)
        self.done = 0
        turns = 2 + plan.rounds * len(plan.workloads) + min(plan.starts, plan.rounds)
        self.total = len(plan.peers) * turns
        self.results = Results(
            machine=machine_facts(),
            model={
                "name": plan.model.name,
                "description": plan.model.description,
                "random_weights": plan.model.random_weights,
                "products": plan.model.products,
            },
            settings={
                "threads": plan.threads,
                "rounds": plan.rounds,
                "checked_texts": len(plan.checked.texts),
            },
            sets={texts.name: _set_facts(texts) for texts in plan.sets},
            workloads={work.key: work.facts for work in plan.workloads},
            peers={
                name: PeerResult(peer.title, peer.precision, peer.kind)
                for name, peer in plan.peers.items()
            },
            left_out=dict(plan.left_out),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def run(self) -> Results:
        begin = time.perf_counter()
        with contextlib.ExitStack() as stack:
            for name in self.plan.peers:
                self._turn(f"{self._title(name)}: preparing")
                if self._prepare(name):
                    self._load(name, stack)
            for name in _reference_first(self.plan.peers):
                self._turn(f"{self._title(name)}: checking its answers")
                self._check(name)
            try:
                for number in range(self.plan.rounds):
                    self._round(number)
                    self.results.rounds = number + 1
                for name in list(self.workers):
                    self._memory(name)
            except KeyboardInterrupt:
                if self.results.rounds == 0:
                    raise
                self._forget_unfinished()
        self.results.seconds = time.perf_counter() - begin
        self._turn("done", 0)
        return self.results

    # Before the rounds

    def _prepare(self, name: str) -> bool:
        """Convert the model for a peer, unless it is there."""
        plan, peer = self.plan, self.plan.peers[name]
        checkpoint = plan.model.path
        if not peer.converts:
            self.folders[name] = checkpoint
            return True
        owner = peer.prepared_as or name
        root = plan.work / "prepared" / plan.model.name
        folder = prepared.folder_of(owner, plan.peers.get(owner, peer), self.sources, root)
        self.folders[name] = folder
        if folder.exists():
            return True
        begin = time.perf_counter()
        with self._worker(name, plan.prepare_timeout) as worker:
            made = self._attempt(
                name,
                "prepare",
                lambda: prepared.prepare(owner, worker, checkpoint, plan.calibration, folder),
            )
        if made is not None:
            self.results.peers[name].prepare_seconds = time.perf_counter() - begin
        return made is not None

    def _load(self, name: str, stack: contextlib.ExitStack) -> None:
        worker = stack.enter_context(self._worker(name, self.plan.timeout))
        self.workers[name] = worker
        found = self.results.peers[name]
        checkpoint = self.plan.model.path.resolve()
        versions = self._attempt(
            name,
            "load",
            lambda: worker.load(self.folders[name].resolve(), checkpoint, self.plan.threads),
        )
        if versions is None:
            self._drop(name)
            return
        found.packages = versions
        found.disk_mb = prepared.size_mb(self.folders[name])
        packages = self.plan.peers[name].packages
        if packages:
            found.installed_mb = self._attempt(
                name, "install size", lambda: worker.installed_mb(packages)
            )

    def _check(self, name: str) -> None:
        """Compare a peer's answers with PyTorch's; this warms it up as well."""
        worker = self.workers.get(name)
        if worker is None:
            return
        texts = self.plan.checked.texts
        answer = self._attempt(name, "check", lambda: worker.classify(texts, _CHECK_BATCH))
        if answer is None:
            self._drop(name)
            return
        self.results.peers[name].answers = self._compared(
            name, "check", texts, answer[1], self.plan.checked.labels
        )

    # The rounds

    def _round(self, number: int) -> None:
        """Every workload, and every peer in it, one after another; who begins changes."""
        names = list(self.plan.peers)
        first = number * 5 % len(names)
        order = _reference_first([*names[first:], *names[:first]])
        self.results.bandwidth.append(read_bandwidth(self.plan.threads))
        for workload in self.plan.workloads:
            for name in order:
                self._turn(f"round {number + 1}: {workload.facts.full_title}: {self._title(name)}")
                self._time(name, workload)
        for name in order if number < self.plan.starts else ():
            self._turn(f"round {number + 1}: process start: {self._title(name)}")
            self._start(name)

    def _time(self, name: str, workload: Workload) -> None:
        """One turn: the seconds of a workload, and whether the answers are right."""
        found, worker = self.results.peers[name], self.workers.get(name)
        by_round = found.seconds.setdefault(workload.key, [])
        by_round.append(None)
        if worker is None or workload.key in found.failures:
            return
        if workload.facts.whole_list and not self.plan.peers[name].own_batches:
            return
        if len(measured := found.measured(workload.key)) >= _LONG_ROUNDS and (
            np.median(measured) > _LONG_SECONDS
        ):
            return
        time.sleep(PAUSE)
        time_it = self._time_set if workload.facts.set else self._time_single
        timed = self._attempt(name, workload.key, lambda: time_it(found, worker, workload))
        if timed is None:
            return
        by_round[-1], logits = timed
        answers = self._compared(name, workload.key, workload.texts, logits)
        before = found.answers_by_workload.get(workload.key)
        if answers is not None and (before is None or answers.agreement < before.agreement):
            found.answers_by_workload[workload.key] = answers

    def _time_set(
        self, found: PeerResult, worker: RemotePeer, workload: Workload
    ) -> tuple[float, np.ndarray]:
        size = workload.facts.batch_size or len(workload.texts)
        return worker.classify(workload.texts, size, self.plan.turn_seconds)

    def _time_single(
        self, found: PeerResult, worker: RemotePeer, workload: Workload
    ) -> tuple[float, np.ndarray]:
        seconds, logits = worker.repeat(
            workload.texts[0], self.plan.turn_seconds, least=_LEAST_RUNS, most=_MOST_RUNS
        )
        found.runs.setdefault(workload.key, []).extend(seconds)
        return float(np.median(seconds)), logits

    def _start(self, name: str) -> None:
        """A new process, from its start to its first answer."""
        found, peer = self.results.peers[name], self.plan.peers[name]
        found.start_seconds.append(None)
        found.start_rss_mb.append(None)
        if name not in self.workers or "start" in found.failures:
            return
        if peer.kind not in ("bertrt", "peer"):
            return
        time.sleep(PAUSE)
        begin = time.perf_counter()
        with self._worker(name, self.plan.timeout) as worker:

            def answer() -> tuple[float, dict[str, float]]:
                folder, checkpoint = self.folders[name].resolve(), self.plan.model.path.resolve()
                worker.load(folder, checkpoint, self.plan.threads)
                worker.classify(self.plan.checked.texts[:1], 1)
                return time.perf_counter() - begin, worker.memory()

            started = self._attempt(name, "start", answer)
        if started is not None:
            found.start_seconds[-1], memory = started
            found.start_rss_mb[-1] = memory["rss_mb"]

    def _forget_unfinished(self) -> None:
        """Keep the whole rounds of a run that was interrupted."""
        rounds = self.results.rounds
        del self.results.bandwidth[rounds:]
        for peer in self.results.peers.values():
            for values in (*peer.seconds.values(), peer.start_seconds, peer.start_rss_mb):
                del values[rounds:]

    def _memory(self, name: str) -> None:
        memory = self._attempt(name, "memory", self.workers[name].memory)
        if memory is not None:
            found = self.results.peers[name]
            found.rss_mb, found.peak_mb = memory["rss_mb"], memory["peak_mb"]

    # What may fail

    def _attempt(self, name: str, stage: str, action: Callable[[], _T]) -> _T | None:
        """The result of a peer's turn; None if it failed, which is written down."""
        try:
            return action()
        except PeerError as error:
            self.results.peers[name].failures[stage] = str(error)
            if name in self.workers and not self.workers[name].alive:
                self._drop(name)
            return None

    def _drop(self, name: str) -> None:
        """Let a peer take no further turns."""
        self.workers.pop(name, None)

    def _compared(
        self,
        name: str,
        stage: str,
        texts: Sequence[str],
        logits: np.ndarray,
        labels: Sequence[int] | None = None,
    ) -> Answers | None:
        """The logits of a peer against PyTorch's; None where there are none to compare."""
        if self.plan.peers[name].kind == "floor":
            return None
        if name == REFERENCE:
            self.right |= zip(texts, logits, strict=True)
        if not all(text in self.right for text in texts):
            return None
        right = np.stack([self.right[text] for text in texts])
        if logits.shape != right.shape:
            self.results.peers[name].failures[stage] = (
                f"its logits have the shape {logits.shape}, PyTorch's {right.shape}"
            )
            self._drop(name)
            return None
        return Answers.of(logits, right, labels)

    # Odds and ends

    def _worker(self, name: str, timeout: float) -> RemotePeer:
        peer = self.plan.peers[name]
        python = environment_python(peer.environment, self.plan.environments)
        return RemotePeer(python, peer.module, self.plan.threads, timeout, self.plan.import_paths)

    def _turn(self, title: str, step: int = 1) -> None:
        self.on_turn(Turn(title, self.done, self.total), self.results)
        self.done += step

    def _title(self, name: str) -> str:
        return self.plan.peers[name].title


def _reference_first(names: Iterable[str]) -> list[str]:
    """PyTorch in front: its answers are what the others' are compared with."""
    return sorted(names, key=lambda name: name != REFERENCE)


def _set_facts(texts: TextSet) -> dict[str, object]:
    return {
        "description": texts.description,
        "texts": len(texts.texts),
        "tokens": sum(texts.lengths),
        "longest": max(texts.lengths),
    }
