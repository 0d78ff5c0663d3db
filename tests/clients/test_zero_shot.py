"""Zero-shot classification by Hugging Face's own clients, and by hand: answers, limits, errors."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from bertrt import Prediction, ZeroShotClassifier
from bertrt.server.service import Service
from bertrt.server.settings import Settings
from bertrt.server.zero_shot import question
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.clients.expected import Ranked, assert_ranked, ranked
from tests.clients.node import run_node
from tests.serving import Server, serving
from tests.tiny_problems import MAX_LENGTH

_TEXT = "a gripping film with a café 好 ending"
_TEXTS = [_TEXT, "", "the vote was on tuesday", "long " * 200]
_LABELS = ["politics", "film", "sport"]
_MAX_PAIRS = 12
_MAX_CHARACTERS = 4_000

Problem = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def zero_shot(tiny_problem: Problem) -> ZeroShotClassifier:
    return ZeroShotClassifier(tiny_problem("nli")[1], device="cpu")


@pytest.fixture(scope="module")
def nli_server(tiny_problem: Problem, tiny_artifact: Path) -> Iterator[Server]:
    """`nli`, the same with other labels (`swapped`), and `sentiment`, which is no NLI model."""
    options = (
        *("--max-client-batch-size", str(_MAX_PAIRS), "--max-text-chars", "2000"),
        *("--max-body-bytes", str(_MAX_CHARACTERS)),
        *("--access-log", "--log-format", "json"),
    )
    models = (
        f"nli={tiny_problem('nli')[1]}",
        f"team/swapped={tiny_problem('nli-entailment-first')[1]}",
        f"sentiment={tiny_artifact}",
    )
    with serving(*models, options=options) as running:
        yield running


@pytest.fixture(scope="module")
def url(nli_server: Server) -> str:
    return nli_server.url


def _ranked(predictions: Sequence[Prediction]) -> Ranked:
    return [(prediction.label, prediction.score) for prediction in predictions]


def _ask(url: str, inputs: Any, path: str = "", **parameters: Any) -> httpx.Response:
    body = {"inputs": inputs, "parameters": {"candidate_labels": _LABELS, **parameters}}
    return httpx.post(url + (path or "/"), json=body, timeout=30)


def _refused(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body.keys() == {"error", "error_type"}, body
    return answer.status_code, body["error"]


# The clients


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("template", [None, "It is about {}."])
def test_the_python_client(
    url: str, zero_shot: ZeroShotClassifier, multi_label: bool, template: str | None
) -> None:
    for text in _TEXTS:
        answer = InferenceClient(url).zero_shot_classification(
            text, _LABELS, multi_label=multi_label, hypothesis_template=template
        )
        expected = zero_shot(text, _LABELS, multi_label=multi_label, hypothesis_template=template)
        assert_ranked([{"label": e.label, "score": e.score} for e in answer], _ranked(expected))


def test_a_single_label_is_scored_by_itself(url: str, zero_shot: ZeroShotClassifier) -> None:
    (answer,) = InferenceClient(url).zero_shot_classification(_TEXT, ["film"])
    assert answer.score == pytest.approx(zero_shot(_TEXT, ["film"])[0].score, abs=1e-5)
    assert answer.score < 1


def test_another_model_whose_labels_stand_in_another_order(url: str, tiny_problem: Problem) -> None:
    client = InferenceClient(f"{url}/models/team/swapped")
    answer = client.zero_shot_classification(_TEXT, _LABELS, multi_label=True)
    swapped = ZeroShotClassifier(tiny_problem("nli-entailment-first")[1], device="cpu")
    expected = _ranked(swapped(_TEXT, _LABELS, multi_label=True))
    assert_ranked([{"label": e.label, "score": e.score} for e in answer], expected)


def test_the_asynchronous_client(url: str, zero_shot: ZeroShotClassifier) -> None:
    async def ask() -> list[list[Any]]:
        async with AsyncInferenceClient(url) as client:
            return list(
                await asyncio.gather(
                    *(client.zero_shot_classification(text, _LABELS) for text in _TEXTS)
                )
            )

    for answer, expected in zip(asyncio.run(ask()), zero_shot(_TEXTS, _LABELS), strict=True):
        assert_ranked([{"label": e.label, "score": e.score} for e in answer], _ranked(expected))


def test_the_javascript_client(url: str, zero_shot: ZeroShotClassifier, node_folder: Path) -> None:
    parameters: list[dict[str, Any]] = [
        {},
        {"multi_label": True},
        {"multi_label": False, "hypothesis_template": "It is about {}."},
    ]
    calls = [
        {"endpointUrl": url, "inputs": _TEXT, "parameters": {"candidate_labels": _LABELS, **each}}
        for each in parameters
    ]
    outcomes = run_node(node_folder, "zeroShotClassification", calls)
    for outcome, each in zip(outcomes, parameters, strict=True):
        assert outcome.keys() == {"answer"}, outcome
        assert_ranked(outcome["answer"], _ranked(zero_shot(_TEXT, _LABELS, **each)))


def test_clients_are_told_of_a_model_that_knows_no_entailment(url: str, node_folder: Path) -> None:
    words = "sentiment has the labels negative, neutral, positive, and zero-shot classification"
    client = InferenceClient(f"{url}/models/sentiment")
    with pytest.raises(HfHubHTTPError, match="422") as caught:
        client.zero_shot_classification(_TEXT, _LABELS)
    assert words in str(caught.value) and "natural language inference" in str(caught.value)
    call = {"inputs": _TEXT, "parameters": {"candidate_labels": _LABELS}}
    (outcome,) = run_node(
        node_folder,
        "zeroShotClassification",
        [{"endpointUrl": f"{url}/models/sentiment", **call}],
    )
    assert (outcome["name"], outcome["status"]) == ("ProviderApiError", 422)
    assert words in outcome["message"]


# What the clients do not send


def test_a_list_of_texts_gives_a_list_of_lists(url: str, zero_shot: ZeroShotClassifier) -> None:
    for texts in (_TEXTS, _TEXTS[:1], [{"text": text} for text in _TEXTS]):
        rows = _ask(url, texts).json()
        for row, expected in zip(rows, zero_shot(_TEXTS[: len(texts)], _LABELS), strict=True):
            assert_ranked(row, _ranked(expected))
    assert_ranked(_ask(url, {"text": _TEXT}).json(), _ranked(zero_shot(_TEXT, _LABELS)))


def test_labels_in_one_string(url: str, zero_shot: ZeroShotClassifier) -> None:
    answer = _ask(url, _TEXT, candidate_labels=" politics, film,,sport")
    assert_ranked(answer.json(), _ranked(zero_shot(_TEXT, _LABELS)))


def test_without_candidate_labels_an_nli_model_scores_its_own_labels(
    url: str, zero_shot: ZeroShotClassifier
) -> None:
    classifier = zero_shot.classifier
    pair = ("a film", "it is a film")
    body = {"inputs": {"text": pair[0], "text_pair": pair[1]}, "parameters": {"multi_label": False}}
    (row,) = httpx.post(url, json=body).json()
    assert_ranked(row, ranked(classifier.logits(pair)[0], classifier.labels, "softmax"))


def test_headers_log_and_metrics_speak_of_texts(
    nli_server: Server, zero_shot: ZeroShotClassifier
) -> None:
    def texts() -> float:
        lines = httpx.get(f"{nli_server.url}/metrics").text.splitlines()
        (line,) = [line for line in lines if line.startswith('bertrt_texts_total{model="nli"}')]
        return float(line.split()[-1])

    before = texts()
    answer = _ask(nli_server.url, _TEXTS)
    pairs = [(text, f"This example is {label}.") for text in _TEXTS for label in _LABELS]
    tokens = sum(map(len, zero_shot.classifier.tokenizer.encode(pairs)))
    assert answer.headers["x-truncated"] == "3"
    assert answer.headers["x-compute-tokens"] == str(tokens)
    assert texts() - before == len(_TEXTS)
    entries = [json.loads(line) for line in nli_server.log.read_text().splitlines()]
    (entry,) = [e for e in entries if e.get("request_id") == answer.headers["x-request-id"]]
    assert (entry["texts"], entry["truncated"], entry["tokens"]) == (len(_TEXTS), 1, tokens)


def test_hypotheses_share_batches_with_other_requests(tiny_problem: Problem) -> None:
    _, artifact = tiny_problem("nli")
    batches: list[int] = []

    class Nobody:
        deadline: float | None = None

        async def gone(self) -> None:
            await asyncio.Event().wait()

    async def ask() -> None:
        service = Service({"nli": str(artifact)}, Settings(device="cpu", max_batch_tokens=4_000))
        await service.load()
        model = service.models.get()
        run = model.metrics.batch

        def counted(texts: int, tokens: int) -> None:
            batches.append(texts)
            run(texts, tokens)

        model.metrics.batch = counted  # type: ignore[method-assign]
        asked = question(
            _TEXTS[:2], _LABELS, hypothesis_template=None, multi_label=False,
            settings=service.settings,
        )  # fmt: skip
        await asyncio.gather(
            service.zero_shot(asked, Nobody()),
            service.zero_shot(asked, Nobody()),
            service.classify(["a", "b"], Nobody()),
        )
        await service.close()

    asyncio.run(ask())
    assert batches == [2 * 6 + 2]


def test_answers_are_right_under_load(url: str, zero_shot: ZeroShotClassifier) -> None:
    asked = [(text, _LABELS[:count]) for text in _TEXTS for count in (1, 2, 3)] * 5
    expected = [zero_shot(text, labels) for text, labels in asked]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda one: _ask(url, one[0], candidate_labels=one[1]).json(), asked)
        for answer, row in zip(answers, expected, strict=True):
            assert_ranked(answer, _ranked(row))


# Limits


def test_texts_times_labels_are_limited(url: str) -> None:
    labels = [str(number) for number in range(_MAX_PAIRS)]
    assert len(_ask(url, "good", candidate_labels=labels).json()) == _MAX_PAIRS
    status, said = _refused(_ask(url, ["a", "b", "c"], candidate_labels=labels[:5]))
    assert status == 413
    assert said == (
        "3 texts with 5 labels each are 15 pairs in one request and max_client_batch_size is 12: "
        "send fewer"
    )


def test_a_text_with_its_hypothesis_is_limited(url: str) -> None:
    status, said = _refused(_ask(url, ["a", "x" * 1_990], candidate_labels=["film"]))
    assert status == 413
    hypothesis = len("This example is {}.") + len("film")  # with the place
    assert said.startswith(f"text 1 with its longest hypothesis has {1_990 + hypothesis} char")


def test_what_all_labels_read_is_limited_as_a_body_is(url: str) -> None:
    assert _ask(url, "x " * 600).status_code == 200
    status, said = _refused(_ask(url, "x " * 600, candidate_labels=["a", "b", "c", "d"]))
    assert status == 413 and "characters in all and max_body_bytes is 4000" in said


def test_a_template_that_repeats_its_label_is_measured_and_not_made(url: str) -> None:
    template, label = "{0}" * 500, "x" * 500
    status, said = _refused(
        _ask(url, "good", candidate_labels=[label], hypothesis_template=template)
    )
    assert status == 413 and "text 0 with its longest hypothesis has 251504 characters" in said


# What is wrong


@pytest.mark.parametrize(
    ("inputs", "parameters", "status", "words"),
    [
        ("x", {"candidate_labels": []}, 422, "there is no label to choose from"),
        ("x", {"candidate_labels": " , "}, 422, "there is no label to choose from"),
        ("x", {"candidate_labels": ["a", " "]}, 422, "label 1 is ' '"),
        ("x", {"candidate_labels": ["a", 3]}, 422, "candidate_labels[1]"),
        ("x", {"candidate_labels": {"a": 1}}, 422, "candidate_labels"),
        ("x", {"hypothesis_template": "no place"}, 422, "write {} once, where the label goes"),
        ("x", {"hypothesis_template": "{0.__class__}"}, 422, "write {} once"),
        ("x", {"hypothesis_template": "{:>999999999}"}, 422, "write {} once"),
        ("x", {"hypothesis_template": 7}, 422, "hypothesis_template"),
        ("x", {"multi_label": "yes"}, 422, "multi_label"),
        ("x", {"candidate_labels": ["good", "x " * 40]}, 422, "has no room beside a text"),
        ("x", {"top_k": 1}, 422, "top_k and function_to_apply are for the model's own labels"),
        ("x", {"function_to_apply": "none"}, 422, "leave them out, or candidate_labels"),
        (["x", {"text": "a", "text_pair": "b"}], {}, 422, "text 1 is a pair: zero-shot"),
        ("x", {"candidate_labels": None, "multi_label": True}, 422, "give candidate_labels too"),
        ("x", {"candidate_labels": None, "hypothesis_template": "{}"}, 422, "give candidate_lab"),
        ([], {}, 400, "`inputs` is empty"),
        (
            ["x", "good " * (MAX_LENGTH - 7)],
            {"truncation": False},
            422,
            f"text 1 has {MAX_LENGTH + 1} tokens and the model takes {MAX_LENGTH}",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(
    url: str, inputs: Any, parameters: dict[str, Any], status: int, words: str
) -> None:
    found, said = _refused(_ask(url, inputs, **parameters))
    assert (found, words in said) == (status, True), said


def test_an_unknown_model(url: str) -> None:
    status, said = _refused(_ask(url, "x", "/models/absent"))
    assert status == 404 and "there is no model 'absent' here" in said


def test_a_text_is_cut_and_its_hypothesis_never(url: str, zero_shot: ZeroShotClassifier) -> None:
    labels = ["a b c d e f g h i j k l m n", "film"]
    answer = _ask(url, "long " * 200, candidate_labels=labels)
    assert_ranked(answer.json(), _ranked(zero_shot("long " * 200, labels)))
    assert answer.headers["x-truncated"] == "0"
