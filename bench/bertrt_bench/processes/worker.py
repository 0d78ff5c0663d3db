"""A process that classifies what it is told: `python -m bertrt_bench.processes.worker`.

Reads JSON lines from standard input and answers each with one. The first is a Task: it loads the
model, classifies its texts once, and answers with the seconds that loading took and a digest of the
logits. Each following line is a number: how many times to classify all texts.
"""

import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass

__all__ = ["Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """What a process does. threads: of its model; texts: its share."""

    artifact: str
    threads: int
    texts: list[str]

    def to_line(self) -> str:
        """As the process reads it."""
        return json.dumps(asdict(self)) + "\n"


def _main() -> None:
    from bertrt import Classifier

    task = Task(**json.loads(sys.stdin.readline()))
    began = time.perf_counter()
    classifier = Classifier(task.artifact, "cpu", threads=task.threads)
    loaded = time.perf_counter() - began
    logits = classifier.logits(task.texts)
    digest = hashlib.sha256(logits.tobytes()).hexdigest()
    print(json.dumps({"load_seconds": loaded, "digest": digest}), flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            classifier.logits(task.texts)
        print("{}", flush=True)


if __name__ == "__main__":
    _main()
