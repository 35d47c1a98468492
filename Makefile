# The front door: every chore is one of these.  `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml $(shell find src cybackprop/_core -name '*.[ch]' -o -name '*.def' -o -name '*.py[xd]' -o -name '*.pxi')
BENCH := .bench-env

.PHONY: help demo test check asan ctest lib cross sweep sweep-compile bench bench-kernels bench-package bench-env size stubs
.PHONY: selftest-hash wheel clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/built  ## train on the digits that ship inside the package
	$(BIN)/cybackprop train digits

test: $(VENV)/test-tools  ## the whole test suite
	$(BIN)/python -X faulthandler -m pytest

check: $(VENV)/lint-tools  ## ruff, mypy, cython-lint, layering, table lint, vectorisation
	$(BIN)/ruff check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint cybackprop
	$(BIN)/mypy
	$(BIN)/python tools/vectorised.py
	$(BIN)/python -m pytest tests/test_layering.py tests/test_tables.py tests/test_stubs.py

# ---- environments: each stamp is remade when what it came from changes

$(VENV)/created:
	@sh tools/preflight.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q "setuptools>=77" "cython>=3.1,<4"
	@touch $@

# an editable install: the checkout's Python files are the package ...
$(VENV)/installed: $(VENV)/created pyproject.toml
	@echo "building the package (about a minute) ..."
	$(BIN)/pip install -q --no-build-isolation -e ".[cli]"
	@touch $@ $(VENV)/built

# ... and its compiled modules are made anew when a source is newer
$(VENV)/built: $(VENV)/installed $(SOURCES)
	@[ -z "$$(find $(SOURCES) -newer $@)" ] || $(BIN)/python setup.py -q build_clib build_ext --inplace
	@touch $@

$(VENV)/test-tools: $(VENV)/built pyproject.toml
	$(BIN)/pip install -q --group test
	@touch $@

$(VENV)/lint-tools: $(VENV)/test-tools pyproject.toml
	$(BIN)/pip install -q --group lint
	@touch $@

wheel: $(VENV)/created  ## build a wheel into dist/
	@rm -rf dist build/lib*    # what an older tree has left there would be packed too
	$(BIN)/pip wheel -q --no-build-isolation --no-deps -w dist .
	@ls -l dist

asan: $(VENV)/test-tools  ## the suite with ASan and UBSan, every buffer its own malloc
	sh tools/asan.sh $(BIN)/python

ctest: $(VENV)/created  ## the kernels against plain loops in C, and the selftest's hash
	$(BIN)/python tools/ctest.py

lib: $(VENV)/created  ## build/libcybackprop.a, for C programs without Python: docs/embedding.md
	$(BIN)/python tools/ctest.py lib

cross: $(VENV)/created  ## the same under qemu: arm64 (NEON) and s390x (big-endian)
	$(BIN)/python tools/ctest.py cross

EXAMPLES = 2000
SEED = 0
sweep-compile: $(VENV)/test-tools  ## random functions compiled and eager, six minutes (EXAMPLES=20000 SEED=1)
	COMPILE_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -s --timeout=0 --hypothesis-seed=$(SEED) \
	    tests/transforms/test_compile_hypothesis.py

ONLY =
WHAT =
STRIDE = 1
sweep: $(VENV)/created  ## accuracy over all float32 inputs, an hour (ONLY=tanh,gelu WHAT=value,slope STRIDE=9973)
	@sh tools/sweep/run.sh $(BIN)/python ONLY=$(ONLY) WHAT=$(WHAT) STRIDE=$(STRIDE)

bench-env: $(BENCH)/installed  ## the environment of the peers: torch, JAX, scikit-learn, thinc, onnxruntime

$(BENCH)/installed: benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install -q --upgrade pip
	$(BENCH)/bin/pip install -q -r benchmarks/requirements.txt
	@touch $@

ARGS =
bench: bench-package  ## training, the tape, predicting, beside all peers, twenty minutes (ARGS="--quick --only once")
	$(BENCH)/bin/python benchmarks/run.py $(ARGS)

bench-kernels: bench-package  ## each family of kernels beside torch and NumPy; all cells in benchmarks/out/
	$(BENCH)/bin/python benchmarks/kernels.py --csv benchmarks/out/kernels.csv

bench-package: $(BENCH)/installed wheel
	$(BENCH)/bin/pip install -q --force-reinstall --no-deps dist/cybackprop-*.whl

stubs: $(VENV)/built  ## rewrite the type stubs from the rows
	$(BIN)/python tools/stubs.py

selftest-hash: $(VENV)/built  ## commit the hashes of this machine's kernels, after a change of bits that is meant
	$(BIN)/python tools/selftest_hash.py

size:  ## lines by folder, and the sizes that are promised
	@sh tools/size.sh

clean:  ## forget builds and environments
	rm -rf build dist $(VENV) $(BENCH) *.egg-info cybackprop/_core/*.so
