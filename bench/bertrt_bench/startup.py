"""From the start of a process to its first answer."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from bertrt_bench.measure import Spread

__all__ = ["ANSWER_WITH_BERTRT", "ANSWER_WITH_PYTORCH", "main", "seconds_to_answer"]

ANSWER_WITH_BERTRT = """
import sys
from bertrt import Classifier
print(Classifier(sys.argv[1])(sys.argv[2]))
"""
ANSWER_WITH_PYTORCH = """
import sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).float().eval()
with torch.inference_mode():
    print(model(**tokenizer(sys.argv[2], return_tensors="pt")).logits)
"""


def seconds_to_answer(python: str, program: str, model: Path) -> float:
    """Run a program with a model in a new process, to its end; raises if it fails."""
    start = time.perf_counter()
    text = "A gorgeous, witty, seductive movie."
    subprocess.run([python, "-c", program, str(model), text], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> int:
    """Print the median of several starts, bertrt and (with --checkpoint) PyTorch interleaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="the same model, for PyTorch")
    parser.add_argument("--serving-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    peers = {"bertrt": (arguments.serving_python, ANSWER_WITH_BERTRT, arguments.artifact)}
    if arguments.checkpoint:
        peers["PyTorch"] = (sys.executable, ANSWER_WITH_PYTORCH, arguments.checkpoint)
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(arguments.rounds):
        for name, peer in peers.items():
            seconds[name].append(seconds_to_answer(*peer))
    for name, values in seconds.items():
        print(f"{name:8} {Spread.of(values).format(2, ' s')}, median of {len(values)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
