"""The command line as it is typed: what it writes, what it says, what it refuses, what it leaves alone."""

import csv
import io
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import sklearn.datasets

import cybackprop as cb
from cybackprop.cli.main import main
from cybackprop.io import load_tensors, save_tensors

QUICK = ("--hidden", "8", "--epochs", "3")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        code = main(list(args))
        return code, *capsys.readouterr()

    return run


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_dataset(name):
    """One of scikit-learn's tables as NAME.csv, labels as text."""
    data = getattr(sklearn.datasets, f"load_{name}")()
    label = (lambda y: data.target_names[int(y)]) if hasattr(data, "target_names") else (lambda y: y)
    rows = [[*row, label(y)] for row, y in zip(data.data.tolist(), data.target.tolist(), strict=True)]
    write_csv(f"{name}.csv", [*data.feature_names, "target"], rows)
    return data


@pytest.fixture
def trained(run):
    """iris.csv and a model of it in iris.safetensors."""
    write_dataset("iris")
    code, _, _ = run("train", "iris.csv", "--target", "target", "--out", "iris.safetensors", *QUICK)
    assert code == 0
    return "iris.safetensors"


def test_digits(run):
    code, out, err = run("train", "digits")
    assert (code, err) == (0, "")
    assert float(re.search(r"test accuracy ([\d.]+)%", out)[1]) >= 97
    assert os.path.exists("model.safetensors")


def test_digits_same_bits_every_time(run):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        run("train", "digits", "--out", name, "--seed", seed, *QUICK)
    a, b, c = (pathlib.Path(name).read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("name", "says", "pattern", "least"),
    [
        ("iris", "one of 3 labels (setosa, versicolor, virginica): classification", r"accuracy ([\d.]+)%", 90),
        ("wine", "one of 3 labels (class_0, class_1, class_2): classification", r"accuracy ([\d.]+)%", 90),
        ("breast_cancer", "one of 2 labels (benign, malignant): classification", r"accuracy ([\d.]+)%", 93),
        ("diabetes", "numeric: regression", r"R² ([\d.]+)", 0.3),
    ],
)
def test_real_tables(run, name, says, pattern, least):
    data = write_dataset(name)
    code, out, err = run("train", f"{name}.csv", "--target", "target", "--out", "m.safetensors")
    assert (code, err) == (0, "") and says in out
    assert float(re.search(f"test {pattern}", out)[1]) >= least
    assert "± is the standard error" in out

    typed = shlex.split(out.splitlines()[-1].removeprefix("next: "))
    assert typed[0] == "cybackprop"
    code, out, err = run(*typed[1:])
    assert (code, err) == (0, "")
    header, *answers = csv.reader(io.StringIO(out))
    assert header == ["target"] and len(answers) == len(data.target)
    if name == "diabetes":
        assert np.corrcoef(np.array(answers, float)[:, 0], data.target)[0, 1] > 0.6
    else:
        assert np.mean([row[0] for row in answers] == data.target_names[data.target]) > 0.93


def test_numeric_labels_are_classes_and_come_back_as_written(run):
    rng = np.random.default_rng(0)
    write_csv("t.csv", ["x", "y"], [[f"{x:.3f}", int(x > 0) + 1] for x in rng.normal(size=200)])
    code, out, _ = run("train", "t.csv", "--target", "y", "--epochs", "30")
    assert code == 0 and "one of 2 labels (1, 2): classification" in out
    _, out, _ = run("predict", "model.safetensors", "t.csv")
    assert set(out.split()) == {"y", "1", "2"}


def test_plain_lines_without_a_terminal(run):
    _, out, _ = run("train", "digits", "--epochs", "40", "--hidden", "8")
    epochs = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert 2 <= len(epochs) <= 21
    assert re.fullmatch(r"epoch 1/40  loss [\d.]+  validation accuracy [\d.]+%  [\d,]+ examples/s", epochs[0])
    assert "\x1b" not in out and "\r" not in out


def test_live_bar_in_a_terminal(tmp_path):
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command("train", "digits", *QUICK), stdout=terminal, cwd=tmp_path, env=env)
    os.close(terminal)
    seen = b""
    while True:
        try:
            seen += os.read(master, 65536)
        except OSError:  # the other end has gone
            break
    assert process.wait() == 0
    text = seen.decode()
    assert "━" in text and "epoch 3/3" in text and "examples/s" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0  # the cursor is back


def command(*args):
    return [sys.executable, "-c", "import sys; from cybackprop.cli.main import main; sys.exit(main())", *args]


def test_probabilities(run, trained):
    code, out, _ = run("predict", trained, "iris.csv", "--proba")
    header, *rows = csv.reader(io.StringIO(out))
    assert code == 0 and header == ["target", "p(setosa)", "p(versicolor)", "p(virginica)"]
    shares = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=2e-6)
    labels = np.array(["setosa", "versicolor", "virginica"])
    assert [row[0] for row in rows] == labels[shares.argmax(axis=1)].tolist()


def test_predict_writes_a_file(run, trained):
    _, expected, _ = run("predict", trained, "iris.csv")
    code, out, _ = run("predict", trained, "iris.csv", "--out", "answers.csv")
    assert code == 0 and "150 predictions of 'target' written to answers.csv" in out
    assert pathlib.Path("answers.csv").read_text() == expected


def test_predict_finds_columns_by_name(run, trained):
    _, expected, _ = run("predict", trained, "iris.csv")
    with open("iris.csv") as file:
        header, *rows = csv.reader(file)
    order = [4, 2, 0, 3, 1]
    write_csv("other.csv", ["note", *(header[i] for i in order)], [["text", *(row[i] for i in order)] for row in rows])
    assert run("predict", trained, "other.csv") == (0, expected, "")


def test_predict_digits(run):
    run("train", "digits", "--hidden", "32", "--epochs", "10")
    code, out, _ = run("predict", "model.safetensors", "digits")
    answers = np.array(out.split()[1:], int)
    assert code == 0 and (answers == cb.data.digits()[1]).mean() > 0.9


def test_info(run, trained):
    code, out, err = run("info", trained)
    assert (code, err) == (0, "")
    for text in ("classification of 'target'", "setosa, versicolor, virginica", "sepal length (cm)", "4-8-3, relu"):
        assert text in out
    assert re.search(r"test: accuracy [\d.]+% ± ", out) and "layers.0.weight  float32  (4, 8)" in out


def test_info_of_another_program_s_file(run):
    save_tensors("f", {"weight\x1b[31m": np.zeros((2, 3))}, {"format": "pt\nx"})
    code, out, _ = run("info", "f")
    assert code == 0 and "weight\\x1b[31m  float64  (2, 3)" in out and "format: pt\\nx" in out


def test_config(run):
    code, out, _ = run("config")
    assert code == 0
    for key in ("version", "target", "threads", "python", "numpy"):
        assert key in out


def test_plot(run):
    pytest.importorskip("matplotlib")
    write_dataset("iris")
    code, out, err = run("train", "iris.csv", "--target", "target", "--plot", "curve.png", *QUICK)
    assert (code, err) == (0, "") and "curve.png" in out
    assert pathlib.Path("curve.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_threads_and_optimizer_are_used(run):
    before = cb.show_config()["threads"]
    try:
        code, out, _ = run("train", "digits", "--threads", "2", "--optimizer", "SGD", "--lr", "0.1", *QUICK)
        assert code == 0 and "SGD" in out
        assert cb.show_config()["threads"] == 2
    finally:
        cb.set_num_threads(before)


def without(extra):
    """A process in which these packages can't be imported."""
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in extra)
    return f"import sys; {blocked}from cybackprop.cli.main import main; sys.exit(main())"


@pytest.mark.parametrize(
    ("missing", "args", "sentence"),
    [
        (("click", "rich"), ("config",), "pip install 'cybackprop[cli]'"),
        (("rich",), ("train", "digits"), "pip install 'cybackprop[cli]'"),
        (("matplotlib",), ("train", "digits", "--plot", "c.png"), "pip install 'cybackprop[plot]'"),
    ],
)
def test_missing_extras(tmp_path, missing, args, sentence):
    done = subprocess.run(
        [sys.executable, "-c", without(missing), *args], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert sentence in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


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
    "unknown option": ((*IRIS, "--epoch", "3"), "--epoch"),
    "unknown command": (("tarin",), "tarin"),
    "out nowhere": ((*IRIS, "--out", "nowhere/m.safetensors"), "nowhere: No such file"),
    "out is a folder": ((*IRIS, "--out", "folder"), "folder: Is a directory"),
    "out below a file": ((*IRIS, "--out", "iris.csv/m"), "Not a directory"),
    "out over the data": ((*IRIS, "--out", "./iris.csv"), "./iris.csv would overwrite iris.csv"),
    "plot over the model": ((*IRIS, "--plot", "./model.safetensors"), "would overwrite"),
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
    "info of no file": (("info", "none"), "none: No such file"),
}


@pytest.fixture(scope="module")
def folder_of_faults(tmp_path_factory):
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
    "layers that don't meet": lambda t, m: (t | {"layers.0.weight": t["layers.0.weight"][:, :-1]}, m),
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


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_leaves_the_old_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"old model")
    args = command("train", "digits", "--epochs", "1000000", "--lr", "1e-9", "--hidden", "16")
    process = subprocess.Popen(args, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not process.stdout.readline().startswith("epoch"):
        assert process.poll() is None
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "cybackprop: stopped; no file was written\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.safetensors": b"old model"}


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_reader_that_goes_away(folder_of_faults):
    line = f"{shlex.join(command('predict', 'model.safetensors', 'iris.csv'))} | true"
    done = subprocess.run(line, shell=True, cwd=folder_of_faults, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_without_arguments_it_helps(run):
    code, out, err = run()
    assert (code, err) == (0, "") and "train" in out and "predict" in out
