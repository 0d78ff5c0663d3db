"""From the options of the command to what is measured."""

import argparse
from collections.abc import Callable

from bertrt_bench.models import BenchModel, find_model
from bertrt_bench.peers.padded import load_tokenizer, max_tokens
from bertrt_bench.peers.registry import PEERS, QUICK, Peer, skip_reason
from bertrt_bench.plan import Plan
from bertrt_bench.workloads import (
    EXAMPLES,
    TextSet,
    Workload,
    mixed_set,
    read_labelled,
    read_texts,
    text_of,
    throughput_workloads,
)

__all__ = ["CHECKED_TEXTS", "make_plan"]

_SST2 = EXAMPLES / "data" / "sst2"
_LENGTHS = (8, 16, 32, 64, 128, 256, 512)
_BATCH_SIZES = (1, 8, 32, 0)
_CALIBRATION_TEXTS = 1024
CHECKED_TEXTS = 512

# Texts by default: as many as BERT-base (85 million products a token) gets through in good time.
_TEXTS, _MIXED_TEXTS, _PRODUCTS = 64, 20, 85_000_000
_MOST_TEXTS, _MOST_MIXED = 512, 160


def make_plan(arguments: argparse.Namespace, say: Callable[[str], None]) -> Plan:
    """All that the options ask for, read and checked."""
    quick = arguments.quick
    if not _SST2.is_dir():
        raise ValueError(
            "the benchmark's texts are not here: run it from a checkout, installed with "
            "`pip install --editable '.[cpu,export,bench]'`"
        )
    model = find_model(arguments.model or ("example" if quick else "bert-base"), arguments.work)
    sets, checked = _texts(arguments, model)
    singles = _singles(arguments, model, checked)
    sizes = arguments.batch_sizes
    if sizes is None:
        sizes = (32, 0) if quick else _BATCH_SIZES
    throughput = [workload for texts in sets for workload in throughput_workloads(texts, sizes)]
    if not singles and not throughput:
        raise ValueError("nothing to measure: give --lengths or --batch-sizes")
    peers, left_out = _peers(arguments, model)
    for title, reason in left_out.items():
        say(f"{title}: left out, {reason}")
    return Plan(
        model=model,
        peers=peers,
        checked=checked,
        sets=sets if throughput else [],
        workloads=[*singles, *throughput],
        calibration=_calibration(arguments),
        threads=arguments.threads,
        rounds=arguments.rounds or 3,
        starts=1 if quick else 2,
        turn_seconds=0.2 if quick else 0.5,
        work=arguments.work,
        environments=arguments.environments,
        left_out=left_out,
        timeout=arguments.timeout,
    )


def _texts(arguments: argparse.Namespace, model: BenchModel) -> tuple[list[TextSet], TextSet]:
    """The ragged and the mixed set, and the texts that answers are checked on."""
    labels: list[int] | None = None
    if arguments.texts is None:
        texts, labels = read_labelled(_SST2 / "dev.tsv")
        labels = labels if model.knows_sst2 else None
        description = "SST-2 dev sentences"
    elif arguments.labelled:
        texts, labels = read_labelled(arguments.texts)
        description = arguments.texts.name
    else:
        texts, description = read_texts(arguments.texts), arguments.texts.name
    if not texts:
        raise ValueError(f"{arguments.texts} has no text")
    tokenizer = load_tokenizer(model.path)
    ragged = TextSet.of("ragged", description, texts, tokenizer, labels)
    tokenizer.no_truncation()
    count, mixed_count = _counts(arguments, model)
    mixed_texts = mixed_set(texts[:mixed_count], tokenizer)
    mixed = TextSet.of(
        "mixed",
        f"{description}, 1 in 10 replaced by a document of 200 to 512 tokens",
        mixed_texts,
        load_tokenizer(model.path),
    )
    checked = ragged.head(arguments.checked_texts or CHECKED_TEXTS)
    return [ragged.head(count), mixed], checked


def _counts(arguments: argparse.Namespace, model: BenchModel) -> tuple[int, int]:
    """How many texts are timed, ragged and mixed: fewer the larger the model is."""
    scale = _PRODUCTS / model.products
    most, most_mixed = (128, 40) if arguments.quick else (_MOST_TEXTS, _MOST_MIXED)
    count = min(most, max(32, int(_TEXTS * scale)))
    mixed = min(most_mixed, max(10, 10 * int(_MIXED_TEXTS * scale / 10)))
    return arguments.max_texts or count, arguments.mixed_texts or mixed


def _singles(arguments: argparse.Namespace, model: BenchModel, texts: TextSet) -> list[Workload]:
    lengths, limit = arguments.lengths, max_tokens(model.path)
    if lengths is None:
        lengths = (16, 128) if arguments.quick else _LENGTHS
        lengths = [tokens for tokens in lengths if tokens <= limit]
    if any(tokens > limit for tokens in lengths):
        raise ValueError(f"--lengths {max(lengths)}: {model.name} takes at most {limit} tokens")
    tokenizer = load_tokenizer(model.path)
    return [Workload.single(text_of(n, texts.texts, tokenizer), n) for n in sorted(set(lengths))]


def _peers(
    arguments: argparse.Namespace, model: BenchModel
) -> tuple[dict[str, Peer], dict[str, str]]:
    """The peers that can run here, and why the others cannot."""
    peers, left_out = {}, {}
    for name in PEERS:
        peer = PEERS[name]
        if name not in (arguments.peers or (QUICK if arguments.quick else PEERS)):
            continue
        if peer.random_weights and not model.random_weights and arguments.peers is None:
            continue
        reason = skip_reason(peer, arguments.environments)
        if reason is None:
            peers[name] = peer
        else:
            left_out[peer.title] = reason
    if not peers:
        raise ValueError("no peer can run here: " + "; ".join(left_out.values()))
    return peers, left_out


def _calibration(arguments: argparse.Namespace) -> list[str]:
    """Distinct texts, evenly out of the file."""
    if arguments.calibration is None:
        texts, _ = read_labelled(_SST2 / "train.tsv")
    else:
        texts = read_texts(arguments.calibration)
    distinct = list(dict.fromkeys(texts))
    return distinct[:: max(1, len(distinct) // _CALIBRATION_TEXTS)][:_CALIBRATION_TEXTS]
