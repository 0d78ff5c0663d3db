"""Whether float16 on the GPU answers as PyTorch does, and whatever else is in the batch."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from bertrt.packing import pack
from bertrt.session import Session
from bertrt.tokenizer import Encoding

from bertrt_bench.gpu import api
from bertrt_bench.gpu.models import is_there, unseen_texts
from bertrt_bench.gpu.pool import BERTRT, EAGER, Pool
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.results import Answers

__all__ = ["independence", "parity", "trained_models"]

_REFERENCE = "pytorch_fp32"


def trained_models(settings: Settings) -> list[str]:
    """Those of the fine-tuned models that are there."""
    return [model for model in settings.parity_models if is_there(model, settings)]


def parity(settings: Settings, pool: Pool) -> dict[str, Any]:
    """Logits of trained models against PyTorch in float32 on the CPU, by model and engine.

    PyTorch in float16 is there to tell what float16 does from what bertrt does.
    """
    pool.close()
    texts, labels = unseen_texts(settings.texts)
    models: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for model in trained_models(settings):
        models[model] = {}
        with contextlib.closing(Pool(settings, model)) as own:
            logits = {name: own.classify(name, texts) for name in (_REFERENCE, EAGER, BERTRT)}
            right = logits[_REFERENCE]
            for name, found in logits.items():
                if right is not None and found is not None:
                    answers = Answers.of(found[1], right[1], labels)
                    models[model][name] = dataclasses.asdict(answers)
            failures |= {f"{model}, {name}": error for name, error in own.failures.items()}
    return {"texts": len(texts), "models": models, "failures": failures}


def independence(settings: Settings) -> dict[str, Any]:
    """A text's logits alone against those in 50 random batches of 32, and in shuffled order."""
    # Imported here: PyTorch comes with it, which the other steps need not wait for.
    from bertrt_bench.fidelity import independence as measured

    texts, _ = unseen_texts(settings.texts)
    models: dict[str, Any] = {}
    for model in (*trained_models(settings), settings.model):
        classifier = api.classifier(settings.folder(model) / "artifact")
        session = classifier.session
        encodings = classifier.tokenizer.encode(texts)
        alone = np.concatenate([session.run(pack([encoding])) for encoding in encodings])

        def run(batch: Sequence[Encoding], session: Session = session) -> np.ndarray:
            return session.run(pack(batch))

        found = measured(run, encodings, alone, alone)
        models[model] = {order: dataclasses.asdict(value) for order, value in found.items()}
    return {"texts": len(texts), "models": models}
