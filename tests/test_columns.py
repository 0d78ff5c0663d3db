"""Columns of results: their names, types and values."""

import numpy as np
import pyarrow as pa
import pytest
from bertrt import InputError
from bertrt.arrow_columns import PREDICTIONS, arrow_columns
from bertrt.columns import ResultColumns
from bertrt.postprocess import Prediction
from bertrt.selection import BEST, select

_LABELS = ("no", "yes")
_LOGITS = np.array([[0.0, np.log(3)], [5.0, 5.0]], dtype=np.float32)


def _columns(top_k: object = BEST, **options: str) -> ResultColumns:
    return ResultColumns(select(_LABELS, "softmax", top_k, None, None), **options)


def test_the_best_label_and_its_score() -> None:
    found = _columns().of(_LOGITS)
    assert list(found) == ["label", "score"]
    assert found["label"] == ["yes", "no"]
    assert isinstance(found["score"], np.ndarray) and found["score"].dtype == np.float32
    np.testing.assert_allclose(found["score"], [0.75, 0.5], atol=1e-6)


def test_every_score_or_logit_in_logit_order() -> None:
    scores = _columns(add="scores").of(_LOGITS)
    assert list(scores) == ["label", "score", "score_no", "score_yes"]
    assert isinstance(scores["score_no"], np.ndarray)
    np.testing.assert_allclose(scores["score_no"], [0.25, 0.5], atol=1e-6)
    assert isinstance(scores["score_yes"], np.ndarray)
    np.testing.assert_allclose(scores["score_yes"], [0.75, 0.5], atol=1e-6)
    logits = _columns(add="logits", prefix="p_").of(_LOGITS)
    assert list(logits) == ["p_label", "p_score", "p_logit_no", "p_logit_yes"]
    np.testing.assert_array_equal(logits["p_logit_yes"], _LOGITS[:, 1])


def test_several_labels_are_predictions() -> None:
    found = _columns(top_k=None).of(_LOGITS[:1])
    assert list(found) == ["predictions"]
    (ranking,) = found["predictions"]
    assert isinstance(ranking, list)
    assert [best.label for best in ranking] == ["yes", "no"]
    assert all(isinstance(best, Prediction) for best in ranking)


def test_arrow_types_do_not_depend_on_the_rows() -> None:
    for count in (0, 2):
        alone = arrow_columns(_columns(add="logits"), _LOGITS[:count])
        assert [column.type for column in alone.values()] == [pa.string(), *[pa.float32()] * 3]
        several = arrow_columns(_columns(top_k=1), _LOGITS[:count])
        assert several["predictions"].type == PREDICTIONS
        assert len(several["predictions"]) == count


def test_names_that_are_taken() -> None:
    _columns().check_free(["text"], "in.csv")
    with pytest.raises(InputError, match=r"in\.csv has a column 'score' already.*prefix"):
        _columns().check_free(["text", "score"], "in.csv")
    _columns(prefix="p_").check_free(["text", "score"], "in.csv")


def test_what_may_be_added() -> None:
    with pytest.raises(ValueError, match="add is 'all': choose one of label, scores, logits"):
        _columns(add="all")
