"""`python -m bertrt_bench.cluster.in_memory ARTIFACT TEXTS.parquet LOGITS.npy THREADS`: one call.

Saves the logits, and prints as JSON the seconds of that call alone: the model is loaded, and the
texts are read, before.
"""

import json
import sys
import time

import numpy as np
import pyarrow.parquet as pq
from bertrt import Classifier


def _main(artifact: str, texts_file: str, logits_file: str, threads: str) -> None:
    texts = pq.read_table(texts_file)["text"].to_pylist()
    classifier = Classifier(artifact, "cpu", precision="int8", threads=int(threads))
    classifier.logits(texts[:256])
    started = time.perf_counter()
    logits = classifier.logits(texts)
    seconds = time.perf_counter() - started
    np.save(logits_file, logits)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
