"""Steps one after another, whatever becomes of one of them; what was found is kept at once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertrt_bench.gpu.pool import Pool
from bertrt_bench.gpu.results import Results, StepResult
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.gpu.steps import Step

__all__ = ["StepError", "in_own_process", "run_steps"]

_LAST_CHARACTERS = 3_000


class StepError(Exception):
    """An isolated step failed, died, or took too long; the end of what it printed follows."""


@dataclass(slots=True)
class _Pools:
    """The engines' processes, which come with the first step that wants them."""

    settings: Settings
    stack: contextlib.ExitStack
    pool: Pool | None = None

    def get(self) -> Pool:
        if self.pool is None:
            pool = Pool(self.settings, self.settings.model)
            self.pool = self.stack.enter_context(contextlib.closing(pool))
        self.pool.retry()
        return self.pool

    def rest(self) -> None:
        """End the processes, so that a step has the GPU by itself."""
        if self.pool is not None:
            self.pool.close()


def run_steps(
    steps: Sequence[Step],
    settings: Settings,
    results: Results,
    *,
    seconds: float,
    on_step: Callable[[str], None],
    save: Callable[[Results], None],
    isolate: Callable[[Step, Settings], dict[str, Any]] | None = None,
) -> None:
    """Run the steps that have not been done, for about so many seconds; `results` grows.

    A step that fails is written down with its error. One that would not end in time is left out:
    another run with the same results takes up there. save: called after each.
    """
    isolate = isolate or in_own_process
    begin = time.perf_counter()
    with contextlib.ExitStack() as stack:
        pools = _Pools(settings, stack)
        for step in steps:
            before = results.steps.get(step.name)
            if before is not None and before.error is None:
                on_step(f"{step.name}: done before, in {before.seconds:.0f} s")
                continue
            left = seconds - (time.perf_counter() - begin)
            if left < step.least_seconds:
                on_step(f"{step.name}: left out, {left:.0f} s are left")
                continue
            on_step(f"{step.name}: {step.title}")
            found = results.steps[step.name] = _outcome(step, settings, pools, isolate)
            save(results)
            state = "done" if found.error is None else f"FAILED: {found.error}"
            on_step(f"{step.name}: {state}, {found.seconds:.0f} s")
            for part, error in found.data.get("failures", {}).items():
                on_step(f"{step.name}: {part} FAILED: {error}")


def _outcome(
    step: Step,
    settings: Settings,
    pools: _Pools,
    isolate: Callable[[Step, Settings], dict[str, Any]],
) -> StepResult:
    begin = time.perf_counter()
    try:
        if step.pooled is not None:
            data = step.pooled(settings, pools.get())
        else:
            pools.rest()
            data = isolate(step, settings)
        data = json.loads(json.dumps(data))  # what cannot be saved is this step's failure too
    except Exception as error:  # whatever it is, the other steps are worth their time
        trace = "" if isinstance(error, StepError) else f"\n{traceback.format_exc()}"
        message = f"{type(error).__name__}: {error}{trace}"
        return StepResult(time.perf_counter() - begin, error=message[-_LAST_CHARACTERS:])
    return StepResult(time.perf_counter() - begin, data)


def in_own_process(step: Step, settings: Settings) -> dict[str, Any]:
    """What an isolated step finds; StepError if it does not end well."""
    with tempfile.TemporaryDirectory() as temporary:
        given, out, log = (Path(temporary) / name for name in ("settings.json", "out.json", "log"))
        given.write_text(json.dumps(settings.to_json()), encoding="utf-8")
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "bertrt_bench.gpu.worker", step.name, str(given), str(out)],
                env=settings.environment(),
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its own children end with it
            )
            status = _wait(process, step.timeout)
        said = log.read_text(encoding="utf-8", errors="replace")[-_LAST_CHARACTERS:]
        if status is None:
            raise StepError(f"took longer than {step.timeout:g} s and was ended:\n{said}")
        if status or not out.exists():
            raise StepError(f"ended with status {status}:\n{said}")
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def _wait(process: "subprocess.Popen[bytes]", timeout: float) -> int | None:
    """Its exit status; None if it had to be killed. Its children end in any case."""
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
