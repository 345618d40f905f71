"""Reading what pjdfstest prints."""

import pytest

from tests.support.pjdfstest import parse

OUTPUT = """\
\x1b[34mchmod::change_perm::regular\x1b[0m                    \x1b[32mok\x1b[0m
\x1b[34munlink::open_file_not_freed\x1b[0m                FAILED
\tassertion `left == right` failed
  left: 1
 right: 0
link::link_count_max                 skipped
\trequires features: x

Summary: 1 failed, 1 skipped, 1 passed, 0 expected failures, 3 total
"""


def test_every_verdict_is_read_with_its_reason() -> None:
    report = parse(OUTPUT)
    assert report.passed == {"chmod::change_perm::regular"}
    assert report.skipped == {"link::link_count_max"}
    assert report.failed == {
        "unlink::open_file_not_freed": "assertion `left == right` failed left: 1 right: 0"
    }


@pytest.mark.parametrize("output", ["", OUTPUT.partition("Summary")[0], OUTPUT.replace("3 total", "4 total")])
def test_an_output_that_ended_early_is_no_report(output: str) -> None:
    with pytest.raises(ValueError, match=r"pjdfstest|total"):
        parse(output)
