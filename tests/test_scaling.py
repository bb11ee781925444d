"""The page about scale has the numbers that follow from what was measured."""

import re

import pytest

from benchmarks import scaling

RATES = scaling.Measured(trained=1000.0, decoded=500.0)
COSTS = scaling.Costs(seen=2e9, side=448, sample=1_500_000, hidden=4096, pool=2048, checkpoint=1e9, encode_share=0.125)


def row(beginning: str) -> list[str]:
    (line,) = [line for line in scaling.table(RATES, COSTS).splitlines() if line.startswith(f"| {beginning}")]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def test_the_table_is_arithmetic_that_a_reader_can_repeat() -> None:
    assert row("files") == ["1.1 TB", "11 TB", "110 TB"]
    assert row("one pass") == ["2.78", "27.8", "278"]
    assert row("the first look") == ["5.56", "55.6", "556"]
    assert row("clusters") == ["0.347", "3.47", "34.7"]
    assert row("passes") == ["200", "20", "2"]
    assert row("features of the sample") == ["12.3 GB"] * 3
    assert row("these, GPU hours")[0].startswith(f"556; {2e9 / 1000 / 3600 * scaling.PRICE:,.0f}")


def test_the_page_names_the_rates_of_the_newest_results() -> None:
    page = scaling.PAGE.read_text()
    assert scaling.assumptions(scaling.measured()) in page, "python -m benchmarks.scaling"
    hours = re.findall(r"\| one pass of training, GPU hours \| ([\d.,]+) \|", page)
    assert hours == [scaling.hours(10**7 / scaling.measured().trained)]


@pytest.mark.slow
def test_the_page_is_what_would_be_drawn_today() -> None:
    page = scaling.PAGE.read_text()
    assert scaling.drawn(page) == page
