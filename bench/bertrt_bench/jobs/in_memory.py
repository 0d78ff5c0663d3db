"""`python -m bertrt_bench.jobs.in_memory ARTIFACT FILE.csv`: all texts in one call.

Prints the seconds of that call alone: the model is loaded, and the texts are read, before.
"""

import csv
import sys
import time

from bertrt import Classifier


def _main(artifact: str, file: str) -> None:
    with open(file, encoding="utf-8", newline="") as stream:  # noqa: PTH123
        texts = [row["text"] for row in csv.DictReader(stream)]
    classifier = Classifier(artifact, "cpu", precision="int8")
    classifier(texts[:256])
    started = time.perf_counter()
    results = classifier(texts)
    print(time.perf_counter() - started, len(results))


if __name__ == "__main__":
    _main(*sys.argv[1:])
