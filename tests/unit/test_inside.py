"""Ids of records that live inside others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sync.inside import inner_id, own_of, parent_of

vendor_ids = st.text(st.characters(exclude_characters="."), min_size=1, max_size=20)


@pytest.mark.rule("DU-10")
@given(vendor_ids, vendor_ids)
def test_an_id_tells_the_parent_and_the_record(parent: str, own: str) -> None:
    made = inner_id(parent, own)
    assert (parent_of(made), own_of(made)) == (parent, own)


@pytest.mark.rule("DU-10")
def test_two_records_never_share_an_id() -> None:
    """Ids of the vendor that would meet if they were only joined."""
    assert len({inner_id(*pair) for pair in (("1", "23"), ("12", "3"), ("23", "1"))}) == 3


@pytest.mark.rule("DU-10")
@pytest.mark.parametrize("plain", ["", "460000000026049", ".", "1.", ".1"])
def test_an_id_that_names_no_parent_is_refused(plain: str) -> None:
    for read in (parent_of, own_of):
        with pytest.raises(ValueError, match="inside another"):
            read(plain)
