"""The command line as it is typed: what it writes and what it says."""

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

import cybackprop as cb
from cybackprop import nn
from cybackprop.cli import modelfile
from cybackprop.data import digits
from cybackprop.io import save_tensors

QUICK = ("--hidden", "8", "--epochs", "3")


@pytest.fixture
def trained(run, write_dataset):
    """iris.csv and a model of it in iris.safetensors."""
    write_dataset("iris")
    code, _, _ = run("train", "iris.csv", "--target", "target", "--out", "iris.safetensors", *QUICK)
    assert code == 0
    return "iris.safetensors"


def test_digits(run):
    code, out, err = run("train", "digits")
    assert (code, err) == (0, "")
    assert float(re.search(r"test accuracy ([\d.]+) ±", out)[1]) >= 97
    loaded = modelfile.load("model.safetensors")  # pixels share one scale: black borders stay black
    assert set(loaded.columns.mean) == {0} and set(loaded.columns.scale) == {16}


def test_same_options_same_bits(run):
    for name, option in (("a", ("--seed", "0")), ("b", ("--lr", "0.001")), ("c", ("--seed", "1"))):
        run("train", "digits", "--out", name, *option, *QUICK)
    a, b, c = (pathlib.Path(name).read_bytes() for name in "abc")
    assert a == b != c  # b spells a default out


@pytest.mark.parametrize(
    ("name", "says", "score", "least"),
    [
        ("iris", "classification of 'target' by 4 columns; 3 labels: setosa, versicolor, virginica", "accuracy", 90),
        ("wine", "classification of 'target' by 13 columns; 3 labels: class_0, class_1, class_2", "accuracy", 90),
        ("breast_cancer", "classification of 'target' by 30 columns; 2 labels: benign, malignant", "accuracy", 93),
        ("diabetes", "regression of 'target' by 10 columns", "R²", 0.3),
    ],
)
def test_real_tables(run, name, says, score, least, write_dataset):
    data = write_dataset(name)
    code, out, err = run("train", f"{name}.csv", "--target", "target", "--out", "m.safetensors")
    assert (code, err) == (0, "") and says in out
    assert float(re.search(rf"test {score} ([\d.]+) ±", out)[1]) >= least
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


def test_numeric_labels_are_classes_and_come_back_as_written(run, write_csv):
    rng = np.random.default_rng(0)
    write_csv("t.csv", ["x", "y"], [[f"{x:.3f}", int(x > 0) + 1] for x in rng.normal(size=200)])
    code, out, _ = run("train", "t.csv", "--target", "y", "--epochs", "30")
    assert code == 0 and "classification of 'y' by 1 column; 2 labels: 1, 2" in out
    _, out, _ = run("predict", "model.safetensors", "t.csv")
    assert set(out.split()) == {"y", "1", "2"}


def test_plain_lines_without_a_terminal(run):
    _, out, _ = run("train", "digits", "--epochs", "40", "--hidden", "8")
    epochs = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert 2 <= len(epochs) <= 21
    assert re.fullmatch(r"epoch 1/40  loss [\d.]+  val\. accuracy [\d.]+ %  [\d,]+ examples/s", epochs[0])
    assert "\x1b" not in out and "\r" not in out


def test_live_bar_in_a_terminal(tmp_path, command):
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


def test_predict_finds_columns_by_name(run, trained, write_csv):
    _, expected, _ = run("predict", trained, "iris.csv")
    with open("iris.csv") as file:
        header, *rows = csv.reader(file)
    order = [4, 2, 0, 3, 1]
    write_csv("other.csv", ["note", *(header[i] for i in order)], [["text", *(row[i] for i in order)] for row in rows])
    assert run("predict", trained, "other.csv") == (0, expected, "")


def test_answers_don_t_depend_on_blocks(run, trained, monkeypatch):
    expected = run("predict", trained, "iris.csv", "--proba")
    monkeypatch.setattr(modelfile, "_ROWS_AT_ONCE", 7)
    assert run("predict", trained, "iris.csv", "--proba") == expected


def test_predict_digits(run):
    run("train", "digits", "--hidden", "32", "--epochs", "10")
    code, out, _ = run("predict", "model.safetensors", "digits")
    answers = np.array(out.split()[1:], int)
    assert code == 0 and (answers == digits()[1]).mean() > 0.9


def test_info(run, trained):
    code, out, err = run("info", trained)
    assert (code, err) == (0, "")
    for text in ("classification of 'target' by 4 columns; 3 labels: setosa", "sepal length (cm)", "4-8-3, relu"):
        assert text in out
    assert re.search(r"test: accuracy [\d.]+ ± ", out) and "layers.0.weight  float32  (4, 8)" in out


def test_info_of_another_program_s_file(run):
    save_tensors("f", {"weight\x1b[31m": np.zeros((2, 3))}, {"format": "pt\nx"})
    code, out, _ = run("info", "f")
    assert code == 0 and "weight\\x1b[31m  float64  (2, 3)" in out and "format: pt\\nx" in out


def test_info_of_a_network_with_states_that_are_not_trained(run):
    model = nn.Dense(2, 3, rng=0)
    model.calls, model.seen, model.mean = cb.State(7), cb.State([True, False, True]), cb.State([0.5, 1.0, 2.0])
    model.save("m")
    code, out, err = run("info", "m")
    assert (code, err) == (0, "") and ": 5 tensors, 16 numbers" in re.sub(r": [\d,]+ bytes,", ":", out)
    assert re.findall(r"^  (\S+  \S+  .*)$", out, re.M) == [
        "weight  float32  (2, 3)", "bias  float32  (3,)", "calls  int64  ()", "seen  bool  (3,)", "mean  float32  (3,)"]


def test_config(run):
    code, out, _ = run("config")
    assert code == 0
    for key in ("version", "target", "threads", "python", "numpy"):
        assert key in out


def test_plot(run, write_csv):
    pytest.importorskip("matplotlib")
    name = "$\\price 数"  # neither mathematics nor in the font
    write_csv("t.csv", ["x", name], [[x, x % 7 / 3] for x in range(50)])
    code, out, err = run("train", "t.csv", "--target", name, "--plot", "curve.png", *QUICK)
    assert (code, err) == (0, "") and "curve.png" in out
    assert pathlib.Path("curve.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_threads_and_optimizer_are_used(run):
    before = cb.show_config()["threads"]
    try:
        code, out, _ = run("train", "digits", "--threads", str(before + 1), "--optimizer", "SGD", "--lr", "0.1", *QUICK)
        assert code == 0 and "SGD" in out
        assert cb.show_config()["threads"] == before + 1
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


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_leaves_the_old_model(tmp_path, command):
    (tmp_path / "model.safetensors").write_bytes(b"old model")
    args = command("train", "digits", "--epochs", "1000000", "--lr", "1e-6", "--hidden", "16")
    process = subprocess.Popen(args, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not process.stdout.readline().startswith("epoch"):
        assert process.poll() is None
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "cybackprop: stopped; no file was written\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.safetensors": b"old model"}


def test_without_arguments_it_helps(run):
    code, out, err = run()
    assert (code, err) == (0, "") and "train" in out and "predict" in out
