"""The table of settings in `support/every_method.py`, against the package."""

from __future__ import annotations

from every_method import BATCH, CLASSES, METHODS, SCORES, WITH_SAVING, that_take
from helpers import Numbers

from dynaprune import methods, scores


def test_every_method_has_settings_of_its_own():
    names = {name.partition(",")[0] for name in METHODS}
    assert names == set(methods.__all__)
    assert [each.__name__ for each in CLASSES] == methods.__all__
    for name, make in METHODS.items():
        assert type(make(Numbers(50), 10)).__name__ == name.partition(",")[0]


def test_every_method_that_takes_saving_is_in_the_table_of_those():
    names = {name.partition(",")[0] for name in WITH_SAVING}
    # StaticPrune keeps one set in all epochs, so it meets a share only to the sample of an epoch
    assert names | {"StaticPrune"} == {each.__name__ for each in that_take("saving")}
    for name, make in WITH_SAVING.items():
        assert type(make(Numbers(50), 10, saving=0.1)).__name__ == name.partition(",")[0]


def test_every_score_has_settings_of_its_own():
    assert {name.partition(",")[0] for name in SCORES} == set(scores.__all__) - {"Score"}
    for name, (score, chunks) in SCORES.items():
        base = methods.NoPrune(Numbers(50), 10)
        assert type(score(base)).__name__ == name.partition(",")[0]
        assert 1 <= chunks <= BATCH
