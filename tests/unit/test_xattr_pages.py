"""Pages of names of extended attributes, for any names and any room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pyganesha import FsalError, Status
from gateway.pyganesha.xattrs import xattr_page

NAMES = st.sets(st.binary(min_size=1, max_size=40), max_size=30)


def xdr_bytes(names: list[bytes]) -> int:
    return 4 + sum(4 + (len(name) + 3) // 4 * 4 for name in names)


@given(NAMES, st.integers(0, 300), st.integers(1, 10))
def test_pages_fit_end_and_hold_each_name_once(names: set[bytes], room: int, most: int) -> None:
    def walk() -> list[bytes]:
        seen: list[bytes] = []
        after, ended = 0, False
        while not ended:
            page, after, ended = xattr_page(names, after, room, most)
            assert not page or xdr_bytes(page) <= room
            assert len(page) <= most
            assert page or ended
            seen += page
        return seen

    if any(xdr_bytes([name]) > room for name in names):
        with pytest.raises(FsalError) as caught:
            walk()
        assert caught.value.code == Status.TOOSMALL
        return
    seen = walk()
    assert len(seen) == len(names)
    assert set(seen) == names


@given(NAMES, st.data())
def test_what_comes_and_goes_between_pages_hides_nothing(names: set[bytes], data: st.DataObject) -> None:
    stays = set(names)
    seen: list[bytes] = []
    after, ended = 0, False
    while not ended:
        now = stays | data.draw(NAMES)
        page, after, ended = xattr_page(now, after, 1000, 3)
        seen += page
    assert sorted(name for name in seen if name in stays) == sorted(stays)
