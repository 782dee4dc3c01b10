"""Options are typed again where editors want keywords: those are the ones that stand in the options themselves."""

from __future__ import annotations

from typing import Any

import pytest
from options_support import keywords_of, options_of

from shadowkeep import Client
from shadowkeep.options import OpenRunOptions


def test_the_keywords_of_opening_a_run_are_its_options() -> None:
    assert keywords_of(Client.open_run) == options_of(OpenRunOptions)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("non_finite", "IGNORE"),
        ("wire_dtype", "I32"),
        ("reconnect_timeout", -1),
        ("writers", 0),
        ("writer", 1),
        ("resume_step", -1),
        ("trainer_step", 1.5),
    ],
)
def test_an_option_out_of_its_bounds_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=option):
        OpenRunOptions(**{option: value})
