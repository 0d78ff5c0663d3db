"""bertrt in a real Spark session, on this machine."""

import json
import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bertrt import ArtifactError, Classifier
from bertrt.integrations.spark import classifier_udf
from bertrt.postprocess import scores as scores_of
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import lit, pandas_udf  # type: ignore[attr-defined]

from tests.test_jobs import AWKWARD

_EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "spark" / "classify_reviews.py"

pytestmark = [
    pytest.mark.skipif(
        shutil.which("java") is None and "JAVA_HOME" not in os.environ,
        reason="Spark needs Java, and there is none (apt-get install openjdk-17-jre-headless)",
    ),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Two threads, each with a Python worker of its own; nothing listens but at 127.0.0.1."""
    work = tmp_path_factory.mktemp("spark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.master("local[2]").appName("bertrt's tests")
        for name, value in {
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "512m",
            "spark.local.dir": str(work / "local"),
            "spark.sql.warehouse.dir": str(work / "warehouse"),
            "spark.sql.shuffle.partitions": "2",
            "spark.log.level": "OFF",
        }.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        yield session
        session.stop()


@pytest.fixture(scope="module")
def classifier(tiny_artifact: Path) -> Classifier:
    return Classifier(tiny_artifact, "cpu", threads=1)


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str | None]:
    return [*[text for text, _ in sst2_dev[:120]], None, *AWKWARD, None]


@pytest.fixture(scope="module")
def frame(spark: SparkSession, texts: list[str | None]) -> DataFrame:
    """Texts, and second texts of which every third is null, in three partitions."""
    rows = [
        (number, text, None if number % 3 == 0 else (text or "")[:500][::-1])
        for number, text in enumerate(texts)
    ]
    return spark.createDataFrame(rows, "id long, text string, reply string").repartition(3).cache()


def _collected(frame: DataFrame, result: Any) -> list[dict[str, Any]]:
    """The fields of a result, a row each, in the order of `id`."""
    rows = frame.select("id", result.alias("result")).collect()
    return [row["result"].asDict(recursive=True) for row in sorted(rows, key=lambda row: row["id"])]


def test_texts_get_the_classifiers_answers_and_nulls_none(
    frame: DataFrame, texts: list[str | None], classifier: Classifier, tiny_artifact: Path
) -> None:
    assert frame.rdd.getNumPartitions() == 3
    found = _collected(frame, classifier_udf(tiny_artifact)("text"))
    assert len(found) == len(texts)
    for row, text in zip(found, texts, strict=True):
        if text is None:
            assert row == {"label": None, "score": None}
        else:
            best = classifier(text)
            assert row["label"] == best.label
            assert row["score"] == pytest.approx(best.score, abs=1e-5)


def test_pairs_get_all_that_is_asked_for(
    frame: DataFrame, classifier: Classifier, tiny_artifact: Path
) -> None:
    udf = classifier_udf(tiny_artifact, add="logits", top_k=2, prefix="p_")
    names = ["p_predictions", *(f"p_logit_{label}" for label in classifier.labels)]
    rows = sorted(frame.collect(), key=lambda row: row["id"])
    found = _collected(frame, udf("text", "reply"))
    nulls = 0
    for row, result in zip(rows, found, strict=True):
        assert list(result) == names
        if row["text"] is None or row["reply"] is None:
            assert set(result.values()) == {None}
            nulls += 1
            continue
        pair = (row["text"], row["reply"])
        expected = classifier(pair, top_k=2)
        assert [best["label"] for best in result["p_predictions"]] == [b.label for b in expected]
        logits = [result[name] for name in names[1:]]
        np.testing.assert_allclose(logits, classifier.logits(pair)[0], atol=1e-5)
    assert len(rows) / 3 <= nulls < len(rows) / 2


def test_long_texts_are_read_in_windows_where_asked(
    spark: SparkSession, classifier: Classifier, tiny_artifact: Path
) -> None:
    text = "good and bad and long " * 400
    windows: dict[str, Any] = {"long_text": "window", "stride": 32, "combine": "max"}
    udf = classifier_udf(tiny_artifact, add="scores", **windows)
    (row,) = spark.range(1).select(udf(lit(text)).alias("result")).select("result.*").collect()
    expected = scores_of(classifier.logits(text, **windows), "softmax")[0]
    scores = [row[f"score_{label}"] for label in classifier.labels]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert not np.allclose(scores, scores_of(classifier.logits(text), "softmax")[0], atol=1e-3)


def test_a_worker_loads_the_model_once_and_takes_the_tasks_cpus(
    spark: SparkSession, tiny_artifact: Path
) -> None:
    """Eight tasks, two at a time; each tells, when it is done, what its worker holds."""
    # No other test has loaded a model with these options.
    answer = classifier_udf(tiny_artifact, max_batch_tokens=333).func  # type: ignore[attr-defined]

    def facts(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        from bertrt.integrations import spark

        for frame in answer(batches):
            cached = spark._scorer.cache_info()
            fact = {
                "process": os.getpid(),
                "loads": cached.misses,
                "uses": cached.hits + cached.misses,
                "tokenizer_threads": os.environ["RAYON_NUM_THREADS"],
            }
            yield pd.Series([json.dumps(fact)] * len(frame))

    tell: Any = pandas_udf(facts, "string")
    texts = spark.range(0, 8, numPartitions=8).selectExpr("cast(id as string) as text")
    found = [
        json.loads(row["facts"]) for row in texts.select(tell("text").alias("facts")).collect()
    ]
    assert len(found) == 8
    assert {fact["tokenizer_threads"] for fact in found} == {"1"}
    workers = {fact["process"] for fact in found}
    assert len(workers) < 8  # Spark keeps workers for the next task
    for worker in workers:
        own = [fact for fact in found if fact["process"] == worker]
        assert len({fact["uses"] for fact in own}) == len(own)  # one a task
        assert len({fact["loads"] for fact in own}) == 1  # the first's


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (("id",), {}, "row 0 of partition 0 has no text: it is of type int"),
        (("list",), {}, "row 0 of partition 0 has no text: it is of type ndarray"),
        (("list_of_null",), {}, "row 0 of partition 0 has no text: it is of type ndarray"),
        (("struct",), {}, "is called with a struct: give one column, of texts, or two, of pairs"),
        (("text", "struct"), {}, "is called with a struct"),
        ((), {}, "is called with 0 columns: give one, of texts, or two, of pairs"),
        (("text", "text", "text"), {}, "is called with 3 columns: give one, of texts, or two"),
        (("text",), {"truncate": False}, "row 1 of partition 0 has 602 tokens and the model takes"),
    ],
)
def test_what_is_no_text_ends_the_query_with_a_message(
    spark: SparkSession,
    tiny_artifact: Path,
    columns: tuple[str, ...],
    options: dict[str, Any],
    message: str,
) -> None:
    rows = [(1, "short"), (2, "long " * 600)]
    others = ("array(text, text) list", "array(null) list_of_null", "struct(text, id) struct")
    frame = spark.createDataFrame(rows, "id long, text string").coalesce(1).selectExpr("*", *others)
    with pytest.raises(PythonException, match=message):
        frame.select(classifier_udf(tiny_artifact, **options)(*columns)).collect()


def test_rows_are_counted_through_nulls_and_batches(
    spark: SparkSession, tiny_artifact: Path
) -> None:
    texts = [None, "short", None, "short", None, "long " * 600]
    frame = spark.createDataFrame([(text,) for text in texts], "text string").coalesce(1)
    udf = classifier_udf(tiny_artifact, truncate=False)
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    usual = spark.conf.get(name)
    assert usual is not None
    spark.conf.set(name, "4")
    try:
        with pytest.raises(PythonException, match="row 5 of partition 0 has 602 tokens"):
            frame.select(udf("text")).collect()
    finally:
        spark.conf.set(name, usual)


@pytest.mark.parametrize(
    ("model", "options", "kind", "message"),
    [
        ("nowhere/at-all", {}, ArtifactError, "nowhere/at-all"),
        (None, {"add": "all"}, ValueError, "add is 'all'"),
        (None, {"top_k": 0}, ValueError, "top_k is 0"),
        (None, {"threads": 0}, ValueError, "threads is 0"),
        (None, {"max_batch_tokens": 0}, ValueError, "max_batch_tokens is 0"),
        (None, {"precision": "int8"}, ArtifactError, "holds no int8 graph, only fp32"),
        (None, {"long_text": "window", "stride": 511}, ValueError, "stride is 511"),
        (None, {"stride": 3}, ValueError, "stride and combine are for windows"),
    ],
)
def test_the_driver_refuses_what_no_worker_could_do(
    tiny_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str | None,
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(kind, match=message):
        classifier_udf(model or tiny_artifact, **options)


def test_the_driver_refuses_a_token_classifier(tagger_artifact: Path) -> None:
    with pytest.raises(ArtifactError, match="labels the words of a text: use TokenClassifier"):
        classifier_udf(tagger_artifact)


def test_the_example_runs(
    spark: SparkSession,
    classifier: Classifier,
    tiny_artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["great fun", 'a "waste" of time', "two\nlines"]
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments = [str(_EXAMPLE), str(tiny_artifact), str(source), str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(_EXAMPLE), run_name="__main__")
    rows = spark.read.parquet(str(output)).collect()
    assert {row["text"]: row["label"] for row in rows} == {
        text: classifier(text).label for text in texts
    }


def test_the_example_takes_a_hub_id(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n')
    arguments = [str(_EXAMPLE), "nowhere/at-all", str(tmp_path / "in.jsonl"), str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(ArtifactError, match="'nowhere/at-all', and the Hugging Face hub gave"):
        runpy.run_path(str(_EXAMPLE), run_name="__main__")
