"""bertrt on a real Ray cluster, on this machine: Ray Data and Ray Serve."""

import json
import os
import pickle
import re
import runpy
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pyarrow as pa
import pytest
import yaml
from bertrt import Classifier, DeviceError, EmptyInputError, InputError, TextTooLongError
from bertrt.arrow_columns import arrow_columns
from bertrt.columns import result_columns
from bertrt.integrations.ray.data import BatchClassifier
from bertrt.server.errors import HttpError, UnknownModelError
from bertrt.server.settings import Settings
from bertrt.tokenizer import TextInput

from tests.test_jobs import AWKWARD

_ROOT = Path(__file__).resolve().parents[1]
_EXAMPLES = _ROOT / "examples" / "ray"

# Ray's own, of pydantic and of a handle's future.
pytestmark = pytest.mark.filterwarnings("ignore:::ray[.]")

# Nothing goes to anybody, and no cluster but our own is used.
# The replicas find their key in their environment.
_KEY, _OTHER_KEY = "the-key", "the-other-key"
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "BERTRT_API_KEY": _KEY,
}

_MOST_CHARACTERS = Settings().max_text_chars

Options = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A cluster of 4 CPUs and a GPU, by name alone; gives its log folder.

    Its folder is not pytest's: the path of a Unix socket has 107 bytes at most.
    """
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as work:
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        import ray

        ray.init(
            "local",
            num_cpus=4,
            num_gpus=1,
            include_dashboard=False,
            object_store_memory=80_000_000,
            log_to_driver=False,
            _temp_dir=work,
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield Path(work) / "session_latest" / "logs"
        ray.shutdown()


@pytest.fixture(scope="module")
def classifier(tiny_artifact: Path) -> Classifier:
    return Classifier(tiny_artifact, "cpu", threads=1)


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str]:
    return [text for text, _ in sst2_dev[:180]] + AWKWARD


@pytest.fixture(scope="module")
def table(texts: list[str]) -> pa.Table:
    """Columns of types that another form of batch would change."""
    rows = range(len(texts))
    return pa.table(
        {
            "id": pa.array(rows, pa.int32()),
            "text": texts,
            "seen": pa.array([None if row % 3 else row for row in rows], pa.int64()),
            "at": pa.array(
                [datetime(2024, 1, 1, 0, 0, 0, row) for row in rows], pa.timestamp("us")
            ),
            "tags": pa.array([["a"] * (row % 3) for row in rows], pa.list_(pa.string())),
            "reply": [text[::-1] for text in texts],
        }
    )


def _expected(
    table: pa.Table, classifier: Classifier, inputs: list[Any], **options: Any
) -> pa.Table:
    """The table with its results, made without Ray."""
    columns = result_columns(classifier.artifact, **options)
    for name, values in arrow_columns(columns, classifier.logits(inputs)).items():
        table = table.append_column(name, values)
    return table


# Ray Data


def test_a_dataset_gets_the_classifiers_answers(
    cluster: Path, table: pa.Table, texts: list[str], classifier: Classifier, tiny_artifact: Path
) -> None:
    """Of two actors, each of which loads the model once, on one thread; all columns are kept."""
    import ray

    # Defined here, so that it travels with the actors, which cannot import the tests.
    class Watched(BatchClassifier):
        loads = 0

        def __init__(self, *arguments: Any, **options: Any) -> None:
            type(self).loads += 1
            super().__init__(*arguments, **options)

        def __call__(self, batch: pa.Table) -> pa.Table:
            own = self.classifier
            facts = {
                "process": os.getpid(),
                "loads": type(self).loads,
                "threads": own.threads,
                "tokenizer_threads": os.environ["RAYON_NUM_THREADS"],
                "provider": own.provider,
            }
            noted = pa.array([json.dumps(facts)] * len(batch))
            return super().__call__(batch).append_column("noted", noted)

    blocks = [table.slice(at, 20) for at in range(0, len(table), 20)]
    classified = ray.data.from_arrow(blocks).map_batches(
        Watched,
        fn_constructor_kwargs={"model": str(tiny_artifact), "add": "logits", "prefix": "p_"},
        batch_format="pyarrow",
        batch_size=20,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    batches = list(classified.iter_batches(batch_size=None, batch_format="pyarrow"))
    result = pa.concat_tables(batches).sort_by("id")
    facts = [json.loads(noted) for noted in set(result["noted"].to_pylist())]
    assert len(facts) == 2 and len({fact.pop("process") for fact in facts}) == 2
    alike = {"threads": 1, "tokenizer_threads": "1", "provider": "CPUExecutionProvider", "loads": 1}
    assert facts == [alike, alike]
    expected = _expected(table, classifier, texts, add="logits", prefix="p_")
    assert result.column_names == [*expected.column_names, "noted"]
    _check_equal(result.drop_columns("noted"), expected)


def _check_equal(table: pa.Table, expected: pa.Table) -> None:
    """The same columns, types and values; numbers to what the order of a float's sums changes."""
    assert table.schema.remove_metadata() == expected.schema.remove_metadata()
    for name in expected.column_names:
        if pa.types.is_float32(expected.schema.field(name).type):
            np.testing.assert_allclose(table[name], expected[name], rtol=0, atol=1e-5)
        else:
            assert table[name].to_pylist() == expected[name].to_pylist(), name


class _Actor:
    """A BatchClassifier in an actor of Ray's, without a dataset around it."""

    def __init__(self, model: Path, *, num_cpus: float = 1, num_gpus: float = 0, **options: Any):
        import ray

        remote: Any = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus)(BatchClassifier)
        self._actor = remote.remote(str(model), **options)

    def classify(self, batch: Any) -> Any:
        import ray

        return ray.get(self._actor.__call__.remote(batch))

    def close(self) -> None:
        import ray

        ray.kill(self._actor)


@pytest.fixture(scope="module")
def actor(cluster: Path, tiny_artifact: Path) -> Iterator[_Actor]:
    actor = _Actor(tiny_artifact, num_cpus=0)
    yield actor
    actor.close()


@pytest.fixture
def actor_of(cluster: Path, tiny_artifact: Path) -> Iterator[Callable[..., _Actor]]:
    """Makes actors, which end with the test."""
    actors: list[_Actor] = []

    def make(**options: Any) -> _Actor:
        actors.append(_Actor(tiny_artifact, **options))
        return actors[-1]

    yield make
    for actor in actors:
        actor.close()


def test_pairs_and_several_labels(
    actor_of: Callable[..., _Actor], table: pa.Table, texts: list[str], classifier: Classifier
) -> None:
    table = table.slice(0, 40)
    pairs = list(zip(texts, table["reply"].to_pylist(), strict=False))[:40]
    actor = actor_of(text_pair_column="reply", add="scores", top_k=2)
    _check_equal_predictions(
        actor.classify(table), _expected(table, classifier, pairs, add="scores", top_k=2)
    )


def _check_equal_predictions(table: pa.Table, expected: pa.Table) -> None:
    """`_check_equal`, with a column of predictions."""
    rows, expected_rows = table["predictions"].to_pylist(), expected["predictions"].to_pylist()
    assert [[best["label"] for best in row] for row in rows] == [
        [best["label"] for best in row] for row in expected_rows
    ]
    others = [name for name in expected.column_names if name != "predictions"]
    _check_equal(table.select(others), expected.select(others))
    assert table.column_names == expected.column_names


def test_long_texts_are_read_in_windows_where_asked(
    actor_of: Callable[..., _Actor], classifier: Classifier
) -> None:
    text = "good and bad and long " * 400
    actor = actor_of(add="logits", long_text="window", stride=32, combine="max")
    result = actor.classify(pa.table({"text": [text]}))
    expected = classifier.logits(text, long_text="window", stride=32, combine="max")[0]
    logits = [result[f"logit_{label}"][0].as_py() for label in classifier.labels]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert not np.allclose(expected, classifier.logits(text)[0], atol=1e-3)


def test_batches_without_rows_and_with_more_than_share_batches(
    actor: _Actor, classifier: Classifier
) -> None:
    empty = actor.classify(pa.table({"text": pa.array([], pa.string())}))
    assert empty.column_names == ["text", "label", "score"] and empty.num_rows == 0
    assert empty.schema.field("label").type == pa.string()
    texts = [f"film {number % 7}" for number in range(4100)]  # 4,096 at a time
    result = actor.classify(pa.table({"text": texts}))
    assert result["label"].to_pylist()[-7:] == [best.label for best in classifier(texts[-7:])]
    assert result["text"].to_pylist() == texts


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": [7, 8], "text": ["a", None]}, "the row with {'id': 8} has no text in column"),
        ({"text": ["a", None]}, "row 1 of a batch of 2 has no text in column 'text': it is null"),
        ({"text": [1, 2]}, "row 0 of a batch of 2 has no text in column 'text': it is of type int"),
        ({"body": ["a"], "id": [1]}, "the dataset has no column 'text': it has body, id"),
        ({"text": ["a"], "score": [1]}, "the dataset has a column 'score' already"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_an_error_that_says_where(
    actor: _Actor, columns: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        actor.classify(pa.table(columns))


def test_a_batch_of_numpy_arrays_is_an_error_that_says_what_to_give(actor: _Actor) -> None:
    with pytest.raises(InputError, match='batch_format="pyarrow"'):
        actor.classify({"text": np.array(["a"])})


def test_a_text_over_the_limit_is_named_by_its_row(actor_of: Callable[..., _Actor]) -> None:
    actor = actor_of(truncate=False)
    texts = ["short"] * 4100 + ["long " * 600]
    message = "the row with {'id': 4100} has 602 tokens and the model takes 512"
    with pytest.raises(InputError, match=re.escape(message)):
        actor.classify(pa.table({"id": range(4101), "text": texts}))


def test_an_error_ends_the_dataset_with_its_message(cluster: Path, tiny_artifact: Path) -> None:
    import ray

    table = pa.table({"id": range(3), "text": ["a", None, "c"]})
    classified = ray.data.from_arrow(table).map_batches(
        BatchClassifier,
        fn_constructor_kwargs={"model": str(tiny_artifact)},
        batch_format="pyarrow",
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    with pytest.raises(Exception, match=r"the row with \{'id': 1\} has no text in column 'text'"):
        classified.materialize()


def test_an_actor_with_a_gpu_takes_cuda_and_nothing_else(actor_of: Callable[..., _Actor]) -> None:
    """Ray believes in a GPU here, and there is none: the actor says so, and runs on no CPU."""
    import ray

    actor = actor_of(num_gpus=0.5)
    with pytest.raises(ray.exceptions.RayActorError, match="DeviceError"):
        actor.classify(pa.table({"text": ["a"]}))


def test_options_out_of_range_are_told_by_the_actor(actor_of: Callable[..., _Actor]) -> None:
    import ray

    actor = actor_of(long_text="window", stride=511)
    with pytest.raises(ray.exceptions.RayActorError, match="stride is 511"):
        actor.classify(pa.table({"text": ["a"]}))


def test_outside_of_an_actor_there_are_no_resources(cluster: Path, tiny_artifact: Path) -> None:
    with pytest.raises(DeviceError, match=r"use bertrt\.Classifier"):
        BatchClassifier(tiny_artifact)


@pytest.mark.parametrize("error", [TextTooLongError(3, 600, 512), HttpError(404, "not here")])
def test_errors_survive_the_way_between_processes(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_the_example_of_a_dataset_runs(
    cluster: Path,
    tiny_artifact: Path,
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    texts = ["great fun", 'a "waste" of time', "long, and then some more"]
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    script = _EXAMPLES / "classify_dataset.py"
    arguments = [str(script), str(tiny_artifact), str(source), str(output), "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(script), run_name="__main__")
    import pyarrow.parquet as pq

    rows = pq.read_table(output).to_pylist()
    assert {row["text"]: row["label"] for row in rows} == {
        text: classifier(text).label for text in texts
    }


def test_the_example_takes_a_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    dataset = MagicMock()
    monkeypatch.setattr(ray.data, "read_json", dataset)
    script = _EXAMPLES / "classify_dataset.py"
    monkeypatch.setattr(sys, "argv", [str(script), "user/name", "in.jsonl", "out", "1"])
    runpy.run_path(str(script), run_name="__main__")
    given = dataset.return_value.map_batches.call_args.kwargs["fn_constructor_kwargs"]
    assert given["model"] == "user/name"


# Ray Serve


@dataclass(frozen=True, slots=True)
class Served:
    """Two applications: one at /, and one with two models and settings, a key too, at /second."""

    url: str
    handle: Any

    def ask(self, path: str, body: Any = None, key: str = _KEY) -> tuple[int, Any]:
        """The status and JSON of an answer; body: None for a GET."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {key}"}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                content = answer.read()
                return answer.status, json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def served(cluster: Path, tiny_artifact: Path) -> Iterator[Served]:
    from bertrt.integrations.ray import app, serve_app
    from ray import serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    handle = serve.run(
        serve_app(tiny_artifact, deployment_options={"ray_actor_options": {"num_cpus": 2}})
    )
    arguments = {
        "models": {"first": str(tiny_artifact), "second": str(tiny_artifact)},
        "max_client_batch_size": "2",
        "auto_truncate": False,
        "api_key": _OTHER_KEY,
    }
    serve.run(app(arguments), name="second", route_prefix="/second")
    yield Served(f"http://127.0.0.1:{port}", handle)
    serve.shutdown()  # type: ignore[no-untyped-call]


def test_http_answers_as_the_classifier_does(
    served: Served, texts: list[str], classifier: Classifier
) -> None:
    few = [text for text in texts[-60:] if len(text) < _MOST_CHARACTERS]
    status, answers = served.ask("/predict", {"inputs": [[text] for text in few]})
    assert status == 200 and len(answers) == len(few) > 30
    for answer, expected in zip(answers, classifier(few, top_k=None), strict=True):
        assert [best["label"] for best in answer] == [best.label for best in expected]
        scores = [best["score"] for best in answer]
        np.testing.assert_allclose(scores, [best.score for best in expected], atol=1e-5)


def test_other_protocols_are_there_too(served: Served) -> None:
    assert served.ask("/health") == (200, None)
    assert served.ask("/v2/health/ready")[0] == 200
    assert served.ask("/info")[1]["max_input_length"] == 512
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}]}
    status, answer = served.ask("/v2/models/model/infer", body)
    assert status == 200 and answer["outputs"][0]["name"] == "label"


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/predict", {"inputs": []}, 400, "`inputs` is empty"),
        ("/predict", {"inputs": 3}, 422, "inputs"),
        ("/nothing", {}, 404, "/docs lists the paths"),
    ],
)
def test_http_errors_are_those_of_the_server(
    served: Served, path: str, body: Any, status: int, message: str
) -> None:
    code, answer = served.ask(path, body)
    assert code == status and message in answer["error"]


def test_a_handle_answers_as_the_classifier_does(
    served: Served, texts: list[str], classifier: Classifier
) -> None:
    classify = served.handle.classify
    one = classify.remote(texts[0]).result()
    assert one.label == classifier(texts[0]).label
    assert one.score == pytest.approx(classifier(texts[0]).score, abs=1e-5)
    few = [text for text in texts[-60:] if len(text) < _MOST_CHARACTERS]
    inputs: list[TextInput] = [*few, (texts[0], texts[1])]
    for options in ({}, {"top_k": 2}, {"threshold": 0.3}):
        answers = classify.remote(inputs, **options).result()
        assert _labels(answers) == _labels(classifier(inputs, **options))


def _labels(results: list[Any]) -> list[Any]:
    return [
        [best.label for best in result] if isinstance(result, list) else result.label
        for result in results
    ]


@pytest.mark.parametrize(
    ("texts", "options", "kind", "message"),
    [
        ([], {}, EmptyInputError, "the list is empty"),
        (["a", 3], {}, InputError, "text 1 is of type int"),
        ([("a", "b", "c")], {}, InputError, "text 0 is of type tuple"),
        (b"bytes", {}, InputError, "texts is of type bytes"),
        ("a", {"model": "other"}, UnknownModelError, "there is no model 'other' here"),
        ("long " * 600, {"truncate": False}, TextTooLongError, "has 602 tokens"),
        ("a", {"top_k": 0}, ValueError, "top_k is 0"),
    ],
)
def test_a_handle_raises_what_the_classifier_raises(
    served: Served, texts: Any, options: Options, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        served.handle.classify.remote(texts, **options).result()


def test_a_replica_has_the_threads_that_ray_gives_it(served: Served, cluster: Path) -> None:
    logs = [log.read_text(encoding="utf-8") for log in cluster.glob("worker-*.err")]
    line = r"model (\w+): 3 labels, fp32 on CPUExecutionProvider, (\d) threads"
    threads = re.findall(line, "".join(logs))
    assert sorted(threads) == [("first", "1"), ("model", "2"), ("second", "1")]


def test_a_replica_takes_more_requests_than_rays_default() -> None:
    from bertrt.integrations.ray import serve_app

    app: Any = serve_app("model", Settings(max_concurrent_requests=77))
    assert app._bound_deployment.max_ongoing_requests == 77
    app = serve_app("model", deployment_options={"max_ongoing_requests": 3, "num_replicas": 4})
    assert app._bound_deployment.max_ongoing_requests == 3
    assert app._bound_deployment.num_replicas == 4


def test_settings_and_a_key_and_a_prefix(served: Served) -> None:
    """What stands in a configuration file of Serve."""
    key = _OTHER_KEY
    assert served.ask("/second/health") == (200, None)
    status, answer = served.ask("/second/predict", {"inputs": "good"}, _KEY)
    assert status == 401 and "API key" in answer["error"]
    assert served.ask("/predict", {"inputs": "good"}, _OTHER_KEY)[0] == 401
    assert served.ask("/second/predict", {"inputs": "good"}, key)[0] == 200
    assert served.ask("/second/predict", {"inputs": [["a"], ["b"], ["c"]]}, key)[0] == 413
    assert served.ask("/second/predict", {"inputs": "long " * 600}, key)[0] == 422
    assert served.ask("/second/v2/models/second", None, key)[1]["name"] == "second"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either `model`"),
        ({"model": "a", "models": {"a": "a"}}, "give either `model`"),
        ({"models": {}}, "models is {}: give a folder or hub id, or some by name"),
        ({"models": ["a"]}, r"models is \['a'\]: give a folder or hub id, or some by name"),
        ({"models": {"a b": "a"}}, "'a b=a' gives no name for a model"),
        ({"model": "a", "max_bodies": 3}, "max_bodies is no setting of `bertrt serve`: there are"),
        ({"model": "a", "max_body_bytes": "many"}, "max_body_bytes is 'many': give a whole number"),
        ({"model": "a", "max_body_bytes": 0.5}, "max_body_bytes is '0.5': give a whole number"),
        ({"model": "a", "threads": 4}, "threads is set, .* use num_gpus and num_cpus in"),
        ({"model": "a", "port": 9000}, "port is set, .* use the http_options of Serve"),
        ({"model": "a", "drain_delay": 2}, "drain_delay is set, .*graceful_shutdown_timeout_s"),
    ],
)
def test_arguments_that_are_none_are_named(arguments: Options, message: str) -> None:
    from bertrt.integrations.ray import app

    with pytest.raises(ValueError, match=message):
        app(arguments)


def test_the_example_of_a_configuration_is_one(tiny_artifact: Path) -> None:
    from ray._common.utils import import_attr
    from ray.serve.schema import ServeDeploySchema

    config = yaml.safe_load((_EXAMPLES / "serve.yaml").read_text(encoding="utf-8"))
    (application,) = ServeDeploySchema(**config).applications
    built = import_attr(application.import_path)(application.args)
    assert [deployment.name for deployment in application.deployments] == [
        built._bound_deployment.name
    ]
