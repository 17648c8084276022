"""Tables in Markdown."""

from nmt.markdown import markdown_table


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    assert markdown_table(["a", "name"], [["1", "x"], ["12345", "long name"]]).splitlines() == [
        "| a     | name      |",
        "| ----- | --------- |",
        "| 1     | x         |",
        "| 12345 | long name |",
    ]


def test_a_table_without_rows_has_its_head() -> None:
    assert markdown_table(["a", "b"], []) == "| a   | b   |\n| --- | --- |"
