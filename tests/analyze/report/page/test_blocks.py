"""Sortable tables of the page in a browser."""

from pathlib import Path

import pytest

from analyze.report.page.blocks import Grid, Page, Section, Text, render

MISSING = {"", "—", "nan"}
ASCENDING = {  # texts of a column in ascending order, with missing values last
    "numbers": ["−2.5", "0", "3.4e-05", "1.500e−03", "9", "10", "1,000", "∞"],
    "python": ["-inf", "-1e+02", "-1", "0.5", "2", "30", "inf", "nan"],
    "percent": ["0 %", "5 %", "9.5 %", "85 %", "100 %", "—", "—", "—"],
    "degrees": ["−1.5°", "8.9°", "63.1°", "101.0°", "", "", "", ""],
    "spread": ["−3 ± 9", "0.5 ± 0.1", "2.0 ± 7.0", "12.3 ± 0.4", "100 ± 1", "nan", "—", ""],
    "text": ["Anderson", "EDICT", "fixed point, K = 2", "fixed point, K = 10", "Rex", "Rex, RK4", "x̂_T", "—"],
    "mixed": ["2", "3 rounds", "10", "12 rounds", "all", "none", "one", "ten"],
}
SHUFFLED = [5, 2, 7, 0, 3, 6, 1, 4]  # positions in ascending order


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A page with a sortable table in shuffled order, the same table that is not sortable, and a long word."""
    header = ["rank", *ASCENDING]
    rows = [[str(rank), *(texts[rank] for texts in ASCENDING.values())] for rank in SHUFFLED]
    blocks = [Grid("Sortable", header, rows, sortable=True), Grid("Fixed", header, rows), Text("word" * 40)]
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(render(Page("Tables", "", [], [Section("t", "Tables", blocks)], "")), encoding="utf-8")
    return file


def column(page, name: str) -> list[str]:
    cells = page.locator(f"table.sortable tbody tr > :nth-child({['rank', *ASCENDING].index(name) + 1})")
    return cells.all_text_contents()


def sort_order(page) -> dict[str, str]:
    """Return the headers that announce an order."""
    headers = page.locator("th[aria-sort]").all()
    return {header.inner_text().split()[0]: header.get_attribute("aria-sort") for header in headers}


@pytest.mark.parametrize("name", ASCENDING)
def test_click_sorts_ascending_and_then_descending_with_missing_values_last(visit, file, name):
    page = visit(file).page
    button = page.get_by_role("button", name=name, exact=True)
    present = [text for text in ASCENDING[name] if text not in MISSING]
    missing = [text for rank in SHUFFLED if (text := ASCENDING[name][rank]) in MISSING]
    button.click()
    assert column(page, name) == present + missing and sort_order(page) == {name: "ascending"}
    button.click()
    assert column(page, name) == present[::-1] + missing and sort_order(page) == {name: "descending"}


def test_rows_move_as_a_whole(visit, file):
    visited = visit(file)
    visited.page.get_by_role("button", name="text").click()
    visited.page.get_by_role("button", name="rank").click()
    for name, texts in ASCENDING.items():
        assert column(visited.page, name) == texts
    assert sort_order(visited.page) == {"rank": "ascending"} and visited.messages == []


def test_equal_values_keep_their_order(visit, file):
    page = visit(file).page
    page.get_by_role("button", name="rank").click()
    page.get_by_role("button", name="percent").click()
    assert column(page, "rank") == list("01234567")


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keys_sort(visit, file, key):
    page = visit(file).page
    button = page.get_by_role("button", name="numbers")
    for order, texts in (("ascending", ASCENDING["numbers"]), ("descending", ASCENDING["numbers"][::-1])):
        button.press(key)
        assert column(page, "numbers") == texts and sort_order(page) == {"numbers": order}
    assert button.evaluate("button => button === document.activeElement")


def test_other_tables_have_no_buttons(visit, file):
    page = visit(file).page
    assert page.locator("th button").count() == len(ASCENDING) + 1
    assert page.locator("table:not(.sortable) th button").count() == 0


def test_without_scripts_the_table_is_shown_as_it_is(visit, file):
    page = visit(file, java_script_enabled=False).page
    assert column(page, "rank") == list(map(str, SHUFFLED)) and page.locator("th button").count() == 0


def test_wide_table_scrolls_inside_a_narrow_page(visit, file):
    page = visit(file, viewport={"width": 360, "height": 740}).page
    page.get_by_role("button", name="mixed").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator("table.sortable").bounding_box()["width"] > 360
