"""Labels and scores for the rows of a dataset, with two actors of one CPU each.

    python examples/ray/classify_dataset.py MODEL INPUT.jsonl OUTPUT

MODEL: a folder that export-model wrote. INPUT: JSON Lines with a field `text`. OUTPUT: a folder of
Parquet files. On a cluster the paths must be there on every machine.
"""

import sys
from pathlib import Path

import ray
from bertrt.integrations.ray import BatchClassifier


def main(model: str, source: str, output: str) -> None:
    """Read, classify, write."""
    dataset = ray.data.read_json(source, lines=True)
    classified = dataset.map_batches(
        BatchClassifier,
        fn_constructor_kwargs={"model": model, "text_column": "text"},
        batch_format="pyarrow",
        batch_size=1024,
        num_cpus=1,  # the threads of an actor
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    classified.write_parquet(output)


if __name__ == "__main__":
    # Ray's workers need not work in the directory in which this is started.
    main(*(str(Path(path).absolute()) for path in sys.argv[1:]))
