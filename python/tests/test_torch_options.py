"""Options of an EMA are typed again where editors want keywords: those are the ones that stand in `EMAOptions`."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest
from options_support import keywords_of, options_of

pytest.importorskip("torch")

from shadowkeep.torch import EMA, EMAKeywords, EMAOptions


def test_the_keywords_of_an_ema_are_its_options() -> None:
    keywords = keywords_of(EMA.__init__)
    assert keywords.pop("run") == (str, inspect.Parameter.empty)
    assert keywords == options_of(EMAOptions)


def test_integrations_hand_through_all_options_but_what_they_know_themselves() -> None:
    types = {name: type_ for name, (type_, _) in options_of(EMAOptions).items()}
    del types["scaler"], types["replica"]
    assert get_type_hints(EMAKeywords) == types


@pytest.mark.parametrize("option", ["on_busy", "on_failure", "resume", "buffers", "frozen", "non_finite", "wire_dtype"])
def test_a_choice_that_there_is_not_is_refused_by_name(option: str) -> None:
    choice: Any = {option: "never"}
    with pytest.raises(ValueError, match=rf"{option} must be .*'never'"):
        EMAOptions(**choice)


def test_a_decay_that_is_none_is_refused_where_the_ema_is_made() -> None:
    with pytest.raises(ValueError, match=r"decay must be .*got 1\.5"):
        EMAOptions(decay=1.5)
