"""The extent map against an array that has one cell a byte."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.metadata.extents import ExtentMap, coalesced

SIZE = 64
Cell = tuple[int, int] | None
Cut = tuple[int, int, int, int]


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    offset = draw(st.integers(0, SIZE - 1))
    return (
        offset,
        draw(st.integers(1, SIZE - offset)),
        draw(st.integers(0, 2)),
        draw(st.sampled_from([offset, 0, 5])),
    )


def cells_of(extents: list[Cut]) -> list[Cell]:
    cells: list[Cell] = [None] * SIZE
    for offset, length, pack, pack_offset in extents:
        for i in range(length):
            assert cells[offset + i] is None
            cells[offset + i] = (pack, pack_offset + i)
    return cells


@given(st.lists(cuts(), max_size=20))
def test_splices_do_what_they_do_to_an_array(splices: list[Cut]) -> None:
    extents = ExtentMap()
    cells: list[Cell] = [None] * SIZE
    for offset, length, pack, pack_offset in splices:
        lost = extents.splice(offset, length, pack, pack_offset)
        here = slice(offset, offset + length)
        assert cells_of(lost)[here] == cells[here]
        assert cells_of(lost)[: here.start] == [None] * offset
        cells[here] = [(pack, pack_offset + i) if pack else None for i in range(length)]
        now = extents.extents()
        assert now == sorted(now)
        assert cells_of(now) == cells
        assert coalesced(now) == now
    assert ExtentMap(reversed(extents.extents())).extents() == extents.extents()


def test_a_hole_may_reach_to_the_end_of_everything() -> None:
    extents = ExtentMap([(0, 10, 1, 0), (2**62, 10, 1, 10)])
    assert extents.splice(5, 2**64 - 1 - 5, 0, 0) == [(5, 5, 1, 5), (2**62, 10, 1, 10)]
    assert extents.extents() == [(0, 5, 1, 0)]
