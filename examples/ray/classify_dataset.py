"""Labels and scores for the rows of a dataset.

    python examples/ray/classify_dataset.py MODEL INPUT.jsonl OUTPUT ACTORS

MODEL: a folder that export-model wrote, or a hub id. INPUT: JSON Lines with a field `text`. OUTPUT:
a folder of Parquet files. On a cluster the paths must be there on every machine. ACTORS: of one CPU
each; at least one fewer than Ray has CPUs, because the tasks that read and write want one too:
where actors hold all of them, they wait forever.
"""

import sys
from pathlib import Path

import ray
from bertrt.integrations.ray import BatchClassifier


def main(model: str, source: str, output: str, actors: int) -> None:
    """Read, classify, write."""
    dataset = ray.data.read_json(source, lines=True)
    classified = dataset.map_batches(
        BatchClassifier,
        fn_constructor_kwargs={"model": model, "text_column": "text"},
        batch_format="pyarrow",
        batch_size=1024,
        num_cpus=1,  # the threads of an actor
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    classified.write_parquet(output)


if __name__ == "__main__":
    # Ray's workers need not work in the directory in which this is started.
    model = str(Path(sys.argv[1]).absolute()) if Path(sys.argv[1]).is_dir() else sys.argv[1]
    source, output = (str(Path(path).absolute()) for path in sys.argv[2:4])
    main(model, source, output, int(sys.argv[4]))
