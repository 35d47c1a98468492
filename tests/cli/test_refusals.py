"""What the command line refuses: one sentence on stderr, exit code 2, every file as before."""

import os
import shlex
import subprocess

import numpy as np
import pytest
import sklearn.datasets

from cybackprop.cli.main import main
from cybackprop.io import load_tensors, save_tensors

QUICK = ("--hidden", "8", "--epochs", "3")
IRIS = ("train", "iris.csv", "--target", "target")
REFUSED = {
    "no such file": (("train", "none.csv", "--target", "y"), "none.csv: No such file"),
    "no such file, no target": (("train", "none.csv"), "none.csv: No such file"),
    "a folder": (("train", "folder", "--target", "y"), "folder: Is a directory"),
    "empty file": (("train", "empty.csv", "--target", "y"), "empty.csv is empty"),
    "header only": (("train", "header.csv", "--target", "y"), "header.csv has a header and no rows"),
    "no target": (("train", "iris.csv"), "--target COLUMN; it has 'sepal length (cm)'"),
    "unknown column": (("train", "iris.csv", "--target", "Targit"), "did you mean 'target'?"),
    "text in a column": (("train", "text.csv", "--target", "y"), "text.csv, line 3, column 'a': 'red' is not a number"),
    "missing value": (("train", "gap.csv", "--target", "y"), "gap.csv, line 2, column 'a': the value is missing"),
    "one class": (("train", "one.csv", "--target", "y"), "'y' is 'u' in every row"),
    "too few rows": (("train", "few.csv", "--target", "y"), "few.csv has 9 rows; training needs at least 10"),
    "rare class": (("train", "rare.csv", "--target", "y"), "the class 'v' has 2 of 42 rows"),
    "digits with a target": (("train", "digits", "--target", "y"), "digits has no column 'y'"),
    "bad hidden": ((*IRIS, "--hidden", "12,x"), "'12,x' isn't a list of layer widths"),
    "empty hidden": ((*IRIS, "--hidden", ""), "'' isn't a list of layer widths"),
    "hidden 0": ((*IRIS, "--hidden", "8,0"), "'8,0' isn't a list of layer widths"),
    "huge hidden": ((*IRIS, "--hidden", "99999999999"), "isn't a list of layer widths"),
    "huge network": ((*IRIS, "--hidden", "65536,65536"), "4-65536-65536-3 has 4,295,426,048 weights"),
    "unknown activation": ((*IRIS, "--activation", "rleu"), "rleu"),
    "unknown optimizer": ((*IRIS, "--optimizer", "adma"), "there is no optimizer 'adma'; did you mean 'adam'?"),
    "negative epochs": ((*IRIS, "--epochs", "-1"), "-1 is not in the range"),
    "no epochs": ((*IRIS, "--epochs", "0"), "0 is not in the range"),
    "epochs in words": ((*IRIS, "--epochs", "ten"), "'ten' is not a valid integer"),
    "no batch": ((*IRIS, "--batch-size", "0"), "0 is not in the range"),
    "negative lr": ((*IRIS, "--lr", "-1"), "'-1' isn't a number above 0"),
    "lr nan": ((*IRIS, "--lr", "nan"), "'nan' isn't a number above 0"),
    "diverging": (("train", "steep.csv", "--target", "y", "--lr", "1e30", "--optimizer", "sgd"), "diverged in epoch"),
    "no thread": ((*IRIS, "--threads", "0"), "0 is not in the range"),
    "too many threads": ((*IRIS, "--threads", "99999999999"), "99999999999 is not in the range"),
    "unknown option": ((*IRIS, "--epoch", "3"), "--epoch"),
    "unknown command": (("tarin",), "tarin"),
    "out nowhere": ((*IRIS, "--out", "nowhere/m.safetensors"), "nowhere: No such file"),
    "out is a folder": ((*IRIS, "--out", "folder"), "folder: Is a directory"),
    "out below a file": ((*IRIS, "--out", "iris.csv/m"), "Not a directory"),
    "out over the data": ((*IRIS, "--out", "./iris.csv"), "./iris.csv would overwrite iris.csv"),
    "plot over the model": ((*IRIS, "--plot", "./model.safetensors"), "would overwrite"),
    "plot over a new model": ((*IRIS, "--out", "new.png", "--plot", "./new.png"), "would overwrite"),
    "plot of unknown kind": ((*IRIS, "--plot", "curve.xyz"), "must end in one of"),
    "plot nowhere": ((*IRIS, "--plot", "nowhere/c.png"), "nowhere: No such file"),
    "no model": (("predict", "none", "iris.csv"), "none: No such file"),
    "model is a folder": (("predict", "folder", "iris.csv"), "folder: Is a directory"),
    "model is a table": (("predict", "iris.csv", "iris.csv"), "iris.csv: "),
    "damaged model": (("predict", "damaged.safetensors", "iris.csv"), "damaged.safetensors: its checksum is wrong"),
    "model cut short": (("predict", "cut.safetensors", "iris.csv"), "cut.safetensors: "),
    "another program's model": (("predict", "other.safetensors", "iris.csv"), "was not made by 'cybackprop train'"),
    "predict with missing columns": (("predict", "model.safetensors", "text.csv"), "text.csv has no column 'sepal"),
    "predict text": (("predict", "model.safetensors", "words.csv"), "words.csv, line 2, column 'petal width (cm)'"),
    "predict too far": (("predict", "model.safetensors", "far.csv"), "far.csv, line 2, column 'sepal length (cm)'"),
    "predict other digits": (("predict", "model.safetensors", "digits"), "trained on other columns"),
    "predict over the model": (("predict", "model.safetensors", "iris.csv", "--out", "model.safetensors"), "overwrite"),
    "predict over the data": (("predict", "model.safetensors", "iris.csv", "--out", "iris.csv"), "would overwrite"),
    "predict nowhere": (("predict", "model.safetensors", "iris.csv", "--out", "nowhere/a"), "nowhere: No such file"),
    "probabilities of a number": (("predict", "number.safetensors", "number.csv", "--proba"), "--proba is for classes"),
    "info of a damaged file": (("info", "damaged.safetensors"), "its checksum is wrong"),
    "a name of two lines": (("info", "no\nfile"), "no file: No such file"),
    "info of no file": (("info", "none"), "none: No such file"),
}


@pytest.fixture(scope="module")
def folder_of_faults(tmp_path_factory, write_csv, write_dataset):
    """Tables and model files, good and bad."""
    folder = tmp_path_factory.mktemp("faults")
    before = os.getcwd()
    os.chdir(folder)
    try:
        write_dataset("iris")
        features = sklearn.datasets.load_iris().feature_names
        os.mkdir("folder")
        folder.joinpath("empty.csv").touch()
        write_csv("header.csv", ["a", "y"], [])
        write_csv("text.csv", ["a", "y"], [[1, "u"], ["red", "v"]])
        write_csv("gap.csv", ["a", "y"], [["", "u"], [1, "v"]])
        write_csv("one.csv", ["a", "y"], [[i, "u"] for i in range(20)])
        write_csv("few.csv", ["a", "y"], [[i, "uvw"[i % 3]] for i in range(9)])
        write_csv("rare.csv", ["a", "y"], [[i, "u"] for i in range(40)] + [[1, "v"], [2, "v"]])
        write_csv("steep.csv", ["a", "y"], [[i, i**3 / 7] for i in range(50)])
        write_csv("number.csv", ["a", "y"], [[i, i / 7] for i in range(50)])
        write_csv("words.csv", features, [[1, 2, 3, "wide"]])
        write_csv("far.csv", features, [["1e300", 2, 3, 4]])
        assert main([*IRIS, *QUICK]) == 0
        assert main(["train", "number.csv", "--target", "y", "--out", "number.safetensors", *QUICK]) == 0
        model = bytearray(folder.joinpath("model.safetensors").read_bytes())
        folder.joinpath("cut.safetensors").write_bytes(model[: len(model) // 2])
        model[-1] ^= 1
        folder.joinpath("damaged.safetensors").write_bytes(model)
        save_tensors("other.safetensors", {"layers.0.weight": np.zeros((4, 3), np.float32)})
    finally:
        os.chdir(before)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(("args", "sentence"), REFUSED.values(), ids=REFUSED)
def test_refused(folder_of_faults, monkeypatch, capsys, args, sentence):
    if "--plot" in args:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(folder_of_faults)
    before = contents(folder_of_faults)
    capsys.readouterr()
    assert main(list(args)) == 2
    out, err = capsys.readouterr()
    assert sentence in err and err.startswith("cybackprop: ") and err.count("\n") == 1
    assert out == "" or "diverged" in sentence
    assert contents(folder_of_faults) == before


COLUMNS = "cybackprop.columns"
FORGERIES = {
    "columns no JSON": lambda t, m: (t, m | {COLUMNS: "{"}),
    "columns of another network": lambda t, m: (t, m | {COLUMNS: m[COLUMNS].replace('"setosa",', "")}),
    "unknown activation": lambda t, m: (t, m | {"cybackprop.activation": "os.system"}),
    "no activation": lambda t, m: (t, {k: v for k, v in m.items() if k != "cybackprop.activation"}),
    "no tensors": lambda t, m: ({}, m),
    "a layer missing": lambda t, m: ({k: v for k, v in t.items() if "layers.0" not in k}, m),
    "a bias missing": lambda t, m: ({k: v for k, v in t.items() if k != "layers.1.bias"}, m),
    "another tensor": lambda t, m: (t | {"extra": np.zeros(3)}, m),
    "layers that don't meet": lambda t, m: (t | {k: t[k][..., :-1] for k in ("layers.0.weight", "layers.0.bias")}, m),
    "a bias of another length": lambda t, m: (t | {"layers.1.bias": t["layers.0.bias"]}, m),
    "three axes": lambda t, m: (t | {k: t[k][..., None] for k in ("layers.1.weight", "layers.1.bias")}, m),
    "float64": lambda t, m: (t | {"layers.0.weight": t["layers.0.weight"].astype(float)}, m),
    "a vector for a matrix": lambda t, m: (t | {"layers.0.weight": t["layers.0.weight"][0]}, m),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_forged_model_files_are_refused(folder_of_faults, monkeypatch, tmp_path, capsys, forge):
    monkeypatch.chdir(folder_of_faults)
    save_tensors(tmp_path / "forged", *forge(*load_tensors("model.safetensors")))
    for args in (("predict", str(tmp_path / "forged"), "iris.csv"), ("info", str(tmp_path / "forged"))):
        capsys.readouterr()
        assert main(list(args)) == 2
        out, err = capsys.readouterr()
        assert out == "" and "forged: " in err and err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_reader_that_goes_away(folder_of_faults, command):
    line = f"{shlex.join(command('predict', 'model.safetensors', 'iris.csv'))} | true"
    done = subprocess.run(line, shell=True, cwd=folder_of_faults, capture_output=True, text=True, check=False)
    assert done.stderr == ""
