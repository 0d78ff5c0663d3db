"""`python -m bertrt_bench.cluster.in_ray ARTIFACT TEXTS.parquet LOGITS.npy ACTORS`: a Ray dataset.

Saves the logits in the order of `id`, and prints as JSON the seconds from the first batch that an
actor began to the last result that came, and from the start of the dataset's execution: there, Ray
starts the actors, and they load the model. Ray itself is started, and the texts are in its store,
before.
"""

import json
import os
import sys
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_BATCH = 1024

# Bytes of Ray's object store: the texts and their results are a few MB.
_STORE = 200_000_000


def _main(artifact: str, texts_file: str, logits_file: str, actors: str) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from bertrt.integrations.ray import BatchClassifier

    class Timed(BatchClassifier):
        """Notes when each batch began, in seconds since 1970."""

        def __call__(self, batch: Any) -> Any:
            began = time.time()
            result = super().__call__(batch)
            return result.append_column("began", pa.array(np.full(len(result), began)))

    ray.init("local", num_cpus=int(actors), include_dashboard=False, object_store_memory=_STORE)
    table = pq.read_table(texts_file)
    blocks = [table.slice(at, _BATCH) for at in range(0, len(table), _BATCH)]
    dataset = ray.data.from_arrow(blocks).materialize()
    classified = dataset.map_batches(
        Timed,
        fn_constructor_kwargs={"model": artifact, "precision": "int8", "add": "logits"},
        batch_format="pyarrow",
        batch_size=_BATCH,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=int(actors)),
    )
    executed = time.time()
    parts = list(classified.iter_batches(batch_size=None, batch_format="pyarrow"))
    ended = time.time()
    ray.shutdown()
    results = pa.concat_tables(parts).sort_by("id")
    names = [name for name in results.column_names if name.startswith("logit_")]
    np.save(logits_file, np.stack([results[name].to_numpy() for name in names], axis=1))
    began = min(results["began"].to_pylist())
    print(json.dumps({"seconds": ended - began, "with_start": ended - executed}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
