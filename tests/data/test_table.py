"""CSV files as people have them: read right, or refused with line and column."""

import numpy as np
import pytest
import sklearn.datasets

from cybackprop.data import TableError, column_names, read_table

PLAIN = "a,b,y\n1,2,u\n-3.5,4e2,v\n"


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


SAME_AS_PLAIN = {
    "plain": PLAIN,
    "no last line end": PLAIN.rstrip("\n"),
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "byte order mark": "\ufeff" + PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "quoted": '"a","b","y"\n"1","2","u"\n"-3.5","4e2","v"\n',
    "spaces": 'a, b , y \n 1, 2, u \n-3.5, 4e2 , "v"\n',
    "blank lines": "\n \n" + PLAIN.replace("\n", "\n\n") + "\n\n",
    "blank lines, then semicolons": "\n\n" + PLAIN.replace(",", ";"),
}


@pytest.mark.parametrize("content", SAME_AS_PLAIN.values(), ids=SAME_AS_PLAIN)
def test_read(write, content):
    table = read_table(write(content), target="y")
    assert table.names == ("a", "b") and table.target == "y"
    np.testing.assert_array_equal(table.values, [[1, 2], [-3.5, 400]])
    assert table.values.dtype == np.float64
    assert table.texts == ["u", "v"]


def test_quotes_may_hold_separators_and_line_ends(write):
    table = read_table(write('"a,b","say ""a""",y\n1,2,"u\nv"\n3,4,"x, y"\n'), target="y")
    assert table.names == ("a,b", 'say "a"')
    assert table.texts == ["u\nv", "x, y"]
    assert table.lines.tolist() == [2, 4]


def test_separator_is_the_one_that_gives_most_names(write):
    assert column_names(write('"a,b,c";d;e\n')) == ["a,b,c", "d", "e"]
    assert column_names(write("one\n1\n")) == ["one"]


def test_columns_by_name_and_order(write):
    table = read_table(write("a,text,b\n1,x,2\n3,y,4\n"), features=["b", "a"])
    assert table.names == ("b", "a") and table.target is None and not table.texts
    np.testing.assert_array_equal(table.values, [[2, 1], [4, 3]])


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 1000])
def test_any_number_of_rows(write, rows):
    values = np.random.default_rng(rows).normal(size=(rows, 3))
    lines = [",".join(map(repr, row)) for row in values.tolist()]
    table = read_table(write("\n".join(["a,b,c", *lines])))
    np.testing.assert_array_equal(table.values, values)
    assert table.lines.tolist() == list(range(2, rows + 2))


REFUSED = {
    "empty file": ("", "is empty"),
    "blank lines only": ("\n \n\n", "is empty"),
    "header only": ("a,b,y\n", "a header and no rows"),
    "too few values": ("a,b,y\n1,2,u\n1,u\n", "line 3: 2 values, but the header names 3"),
    "too many values": ("a,b,y\n1,2,3,u\n", "line 2: 4 values, but the header names 3"),
    "same name twice": ("a,b,a,y\n", r"two columns are named 'a' \(1 and 3\)"),
    "column without a name": (",a,y\n0,1,u\n", "column 1 of the header has no name.*index=False"),
    "unknown target": ("a,b,why\n", "has no column 'y'; its columns are 'a', 'b', 'why'"),
    "unknown target, near": ("a,b,Y\n", "has no column 'y'; did you mean 'Y'?"),
    "nothing but the target": ("y\nu\n", "no column beside 'y'"),
    "text": ("a,b,y\n1,2,u\n1,red,u\n", "line 3, column 'b': 'red' is not a number"),
    "text far down": ("a,b,y\n" + "1,2,u\n" * 300 + "1,x,u\n", "line 302, column 'b': 'x'"),
    "text below a quoted line end": ('a,b,y\n1,2,"u\nv"\n1,x,u\n', "line 4, column 'b': 'x'"),
    "text below blank lines": ("\n\na,b,y\n\n1,2,u\n\n1,x,u\n", "line 7, column 'b': 'x'"),
    "a long text": ("a,b,y\n1," + "x" * 999 + ",u\n", r"'x{37}\.\.\.' is not"),
    "Python's underscore": ("a,b,y\n1,1_000,u\n", "'1_000' is not a number"),
    "decimal comma": ("a;b;y\n1;2,5;u\n", "'2,5' is not a number.*with a point"),
    "empty cell": ("a,b,y\n1,,u\n", "line 2, column 'b': the value is missing"),
    "NA": ("a,b,y\n1,2,u\nNA,2,u\n", "line 3, column 'a': the value is missing"),
    "nan": ("a,b,y\n1, NaN ,u\n", "line 2, column 'b': the value is missing"),
    "infinite": ("a,b,y\n1,-inf,u\n", "line 2, column 'b': '-inf' is not finite"),
    "beyond float64": ("a,b,y\n1,1e999,u\n", "line 2, column 'b': '1e999' is not finite"),
    "open quote": ('a,b,y\n1,2,u\n1,"2,u\n', "line 3: .*unexpected end"),
    "text after a quote": ('a,b,y\n1,"2"3,u\n', "line 2: "),
    "a field of 200 kB": ("a,b,y\n1,2," + "u" * 200_000 + "\n", "line 2: field larger"),
    "Latin-1": ("a,b,y\n1,2,é\n".encode("latin-1"), "no UTF-8 text"),
    "UTF-16": (PLAIN.encode("utf-16"), "no UTF-8 text"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "no UTF-8 text"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(write, content, message):
    path = write(content)
    with pytest.raises(TableError, match=message) as caught:
        read_table(path, target="y")
    assert str(caught.value).startswith(str(path))


def test_missing_feature_is_named(write):
    with pytest.raises(TableError, match="has no column 'length'; did you mean 'lenght'"):
        read_table(write("lenght,b\n1,2\n"), features=["b", "length"])


def test_long_lists_of_columns_are_cut(write):
    with pytest.raises(TableError, match="'c11' and 88 more$"):
        read_table(write(",".join(f"c{i}" for i in range(100)) + "\n"), target="nothing like it")


def test_file_errors_stay_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")
    with pytest.raises(IsADirectoryError):
        read_table(tmp_path)


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "diabetes", "iris"])
def test_scikit_learn_s_tables(write, name):
    data = getattr(sklearn.datasets, f"load_{name}")()
    rows = [[*map(repr, row), str(label)] for row, label in zip(data.data.tolist(), data.target, strict=True)]
    header = [f'"{column}"' for column in (*data.feature_names, "target")]
    table = read_table(write("\n".join(map(",".join, [header, *rows]))), target="target")
    assert list(table.names) == list(data.feature_names)
    np.testing.assert_array_equal(table.values, data.data)
    np.testing.assert_array_equal(np.array(table.texts, float), data.target)
