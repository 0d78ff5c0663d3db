"""Model folders as other exporters write them: the padded layout, and no bertrt.json."""

import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["FAMILIES", "LABELS", "Foreign", "make_foreign", "reference_logits"]

FAMILIES = ("bert", "distilbert", "roberta")
LABELS = ("negative", "neutral", "positive")

# Texts of SST-2 are longer than RoBERTa's table here: 40 positions, 38 tokens.
_POSITIONS = {"bert": 512, "distilbert": 512, "roberta": 40}

_SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4},
}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A folder that another exporter wrote, and the checkpoint that it was made of."""

    path: Path
    checkpoint: Path


def make_foreign(family: str, vocabulary: Path, texts: Sequence[str], folder: Path) -> Foreign:
    """A tiny classifier of random weights, exported by PyTorch's own exporter.

    `bert`: onnx/model.onnx, model_quantized.onnx and model_fp16.onnx beside it, three named labels,
    and vocab.txt alone. `distilbert`: model.onnx, tokenizer.json, the default labels.
    `roberta`: model.onnx with external weights, vocab.json and merges.txt, 40 positions for 38
    tokens, and 1e30 for the tokenizer's limit.

    vocabulary: the folder that has BERT's vocab.txt and tokenizer.json. texts: what RoBERTa's
    vocabulary is learnt from.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    checkpoint, made = folder / "checkpoint", folder / "exported"
    checkpoint.mkdir()
    size = _write_tokenizer(family, vocabulary, texts, checkpoint)
    labels: dict[str, Any] = {"id2label": dict(enumerate(LABELS))} if family == "bert" else {}
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=size,
        max_position_embeddings=_POSITIONS[family],
        initializer_range=0.2,  # the usual 0.02 gives logits near 0, which hide differences
        **_SIZES[family],
        **labels,
    )
    model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(checkpoint)
    files = [file for file in checkpoint.iterdir() if file.suffix != ".safetensors"]
    made.mkdir()
    for file in files:
        shutil.copy(file, made)
    graph = made / ("onnx/model.onnx" if family == "bert" else "model.onnx")
    graph.parent.mkdir(exist_ok=True)
    _export(model, graph, segments=family == "bert")
    if family == "bert":
        _write_variants(graph)
    elif family == "roberta":
        _write_external(graph)
    return Foreign(made, checkpoint)


def reference_logits(model: Foreign, texts: Sequence[str | tuple[str, str]]) -> np.ndarray:
    """What PyTorch answers, with Transformers' tokenizer: float32 [texts, labels]."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.checkpoint)
    network = AutoModelForSequenceClassification.from_pretrained(model.checkpoint).eval()
    offset = 2 if network.config.model_type == "roberta" else 0
    limit = network.config.max_position_embeddings - offset
    rows = []
    with torch.inference_mode():
        for text in texts:
            pair = (text,) if isinstance(text, str) else text
            inputs = tokenizer(*pair, truncation=True, max_length=limit, return_tensors="pt")
            rows.append(network(**inputs).logits[0].numpy())
    return np.stack(rows)


def _write_tokenizer(family: str, vocabulary: Path, texts: Sequence[str], folder: Path) -> int:
    """The tokenizer's files; how many ids there are."""
    settings: dict[str, Any] = {"model_max_length": 512}
    if family == "roberta":
        from tokenizers import ByteLevelBPETokenizer

        learnt = ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        learnt.train_from_iterator(texts, 600, special_tokens=special, show_progress=False)
        learnt.save_model(str(folder))
        settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": int(1e30)}
    elif family == "bert":
        shutil.copy(vocabulary / "vocab.txt", folder)
        settings |= {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    else:
        shutil.copy(vocabulary / "tokenizer.json", folder)
        settings |= {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if family == "roberta":
        return len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    return len((vocabulary / "vocab.txt").read_text(encoding="utf-8").splitlines())


def _export(model: Any, graph: Path, *, segments: bool) -> None:
    import torch

    names = ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]
    inputs = {name: torch.ones((2, 7), dtype=torch.long) for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, and that there is a newer exporter
        torch.onnx.export(
            model.eval(),
            (),
            str(graph),
            kwargs=inputs,
            input_names=names,
            output_names=["logits"],
            dynamic_axes={
                **{name: {0: "batch_size", 1: "sequence_length"} for name in names},
                "logits": {0: "batch_size"},
            },
            opset_version=18,
            dynamo=False,  # the exporter that Optimum uses
        )


def _write_variants(graph: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.float16 import convert_float_to_float16

    quantized = graph.with_name("model_quantized.onnx")
    quantize_dynamic(graph, quantized, weight_type=QuantType.QInt8)
    half = convert_float_to_float16(onnx.load(graph))
    onnx.save(half, graph.with_name("model_fp16.onnx"))


def _write_external(graph: Path) -> None:
    """Put the weights into a file beside the graph, with the name that Optimum gives it."""
    import onnx

    whole = onnx.load(graph)
    onnx.save_model(
        whole,
        graph,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{graph.name}_data",
        size_threshold=0,
    )
