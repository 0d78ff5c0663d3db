"""The `bertrt tag` command: what it prints, and its errors."""

import json
from pathlib import Path
from typing import Any

import pytest
from bertrt import TokenClassifier
from bertrt.cli import main

from tests.helpers import run_bertrt
from tests.tiny_taggers import MAX_LENGTH

_TEXTS = ["Angela Merkel met Barack Obama in Berlin.", "", "café 好"]
_LONG = "word " * 2 * MAX_LENGTH


@pytest.fixture(scope="module")
def model(tagger_artifact: Path) -> str:
    return str(tagger_artifact)


@pytest.fixture(scope="module")
def tagger(tagger_artifact: Path) -> TokenClassifier:
    return TokenClassifier(tagger_artifact, "cpu")


def _records(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def _expected(tagger: TokenClassifier, text: str, strategy: str, **options: Any) -> dict[str, Any]:
    found = tagger(text, aggregation_strategy=strategy, **options)
    entities = [
        {
            "label": entity.label,
            "score": pytest.approx(entity.score, abs=1e-6),
            "start": entity.start,
            "end": entity.end,
            "word": entity.word,
            **({"index": entity.index} if strategy == "none" else {}),
        }
        for entity in found
    ]
    return {"text": text, "entities": entities}


def test_tag_prints_the_entities_of_each_text(
    capsys: pytest.CaptureFixture[str], model: str, tagger: TokenClassifier
) -> None:
    assert main(["tag", model, *_TEXTS]) == 0
    expected = [_expected(tagger, text, "simple") for text in _TEXTS]
    assert expected[0]["entities"] and not expected[1]["entities"]
    assert _records(capsys.readouterr().out) == expected


@pytest.mark.parametrize("strategy", ["none", "max"])
def test_the_aggregation_may_be_chosen(
    capsys: pytest.CaptureFixture[str], model: str, tagger: TokenClassifier, strategy: str
) -> None:
    assert main(["tag", model, "--aggregation", strategy, _TEXTS[0]]) == 0
    assert _records(capsys.readouterr().out) == [_expected(tagger, _TEXTS[0], strategy)]


def test_a_long_text_is_read_in_windows_if_asked_for(
    capsys: pytest.CaptureFixture[str], model: str, tagger: TokenClassifier
) -> None:
    assert main(["tag", model, "--stride", "8", _LONG]) == 0
    assert _records(capsys.readouterr().out) == [_expected(tagger, _LONG, "simple", stride=8)]


def test_each_line_of_standard_input_is_a_text(model: str, tagger: TokenClassifier) -> None:
    ran = run_bertrt("tag", model, stdin="\n".join(_TEXTS).encode())
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert _records(ran.stdout.decode()) == [_expected(tagger, text, "simple") for text in _TEXTS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-truncate", _LONG], f"and the model takes {MAX_LENGTH}"),
        (["--stride", "8", "--aggregation", "none", "a"], "stride needs entities"),
        (["--stride", str(MAX_LENGTH), "a"], f"stride is {MAX_LENGTH}: give 0 to"),
    ],
)
def test_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], model: str, options: list[str], message: str
) -> None:
    assert main(["tag", model, *options]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("bertrt: error: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_an_unknown_aggregation_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], model: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["tag", model, "--aggregation", "mean", "a"])
    assert exit_.value.code == 2
    assert "choose from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "fixture", "use"),
    [
        ("classify", "tagger_artifact", "use TokenClassifier, or `bertrt tag`"),
        ("tag", "tiny_artifact", "use Classifier, or `bertrt classify`"),
    ],
)
def test_the_other_tasks_model_names_the_other_command(
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    command: str,
    fixture: str,
    use: str,
) -> None:
    assert main([command, str(request.getfixturevalue(fixture)), "a"]) == 1
    assert use in capsys.readouterr().err


def test_info_describes_a_token_classifier(capsys: pytest.CaptureFixture[str], model: str) -> None:
    assert main(["info", "--json", model]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["task"] == "token-classification"
    assert facts["max_length"] == MAX_LENGTH
    assert facts["runs_on"] == "CPUExecutionProvider"
