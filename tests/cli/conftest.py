"""Helpers for tests of the command line."""

import csv
import sys

import pytest
import sklearn.datasets

from cybackprop.cli.main import main


@pytest.fixture(scope="session")
def write_csv():
    def write_csv(path, header, rows):
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])

    return write_csv


@pytest.fixture(scope="session")
def write_dataset(write_csv):
    """One of scikit-learn's tables as NAME.csv in the current folder, labels as text."""

    def write_dataset(name):
        data = getattr(sklearn.datasets, f"load_{name}")()
        label = (lambda y: data.target_names[int(y)]) if hasattr(data, "target_names") else (lambda y: y)
        rows = [[*row, label(y)] for row, y in zip(data.data.tolist(), data.target.tolist(), strict=True)]
        write_csv(f"{name}.csv", [*data.feature_names, "target"], rows)
        return data

    return write_dataset


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        code = main(list(args))
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def command():
    """The command line as another process, without the entry point's script."""

    def command(*args):
        return [sys.executable, "-c", "import sys; from cybackprop.cli.main import main; sys.exit(main())", *args]

    return command
