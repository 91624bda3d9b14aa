# Both main targets make .venv where it is missing and need nothing but Python: PYTHON=python3.12 make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# PaddleFormers and our own engine want different versions of transformers, so it has an environment of its own.
PADDLE := .venv-paddle
PADDLE_READY := $(PADDLE)/.ready

.PHONY: quickstart test test-slow test-paddle lint format lock lock-images picture findings bench clean

quickstart: $(READY)
	$(BIN)/ocrvl quickstart --dir build/quickstart

test: $(READY) lint
	$(BIN)/python -m pytest -n 3 --dist loadgroup

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-paddle: $(PADDLE_READY)
	$(PADDLE)/bin/python -m pytest -m paddle tests/with_paddle

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# torch goes first and alone: once its pinned version is there, nothing that wants torch takes another build.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[local,cloud,data,dev]'
	touch $@

$(PADDLE_READY): pyproject.toml constraints-paddle.txt
	test -x $(PADDLE)/bin/python || $(PYTHON) -m venv $(PADDLE)
	$(PADDLE)/bin/python -m pip install --quiet --constraint constraints-paddle.txt torch==2.13.0
	$(PADDLE)/bin/python -m pip install --quiet --constraint constraints-paddle.txt --editable '.[paddle,dev]'
	touch $@

COMPILE := build/lock/bin/uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header \
	--no-emit-index-url --extra dev pyproject.toml

lock:
	test -x build/lock/bin/uv || { $(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv; }
	$(COMPILE) --extra local --extra cloud --extra data --output-file constraints.txt
	$(COMPILE) --extra paddle --output-file constraints-paddle.txt

# What the pinned packages of the images need in turn, with the uv that pins.py names. Needs the package index.
lock-images: $(READY)
	test -x build/lock-images/bin/uv || $(PYTHON) -m venv build/lock-images
	build/lock-images/bin/pip install --quiet uv==$$($(BIN)/python -c "from ocrvl_modal.pins import UV; print(UV)")
	$(BIN)/python -m ocrvl_modal.building.locking build/lock-images/bin/uv

picture: $(READY)
	$(BIN)/python docs/make_picture.py

findings: $(READY)
	$(BIN)/python docs/make_findings.py

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/image_plan.py
	$(BIN)/python benchmarks/wheel_fetch.py
	$(BIN)/python benchmarks/data_push.py
	$(BIN)/python benchmarks/data_check.py
	$(BIN)/python benchmarks/image_headers.py
	$(BIN)/python benchmarks/near_duplicates.py

clean:
	rm -rf build dist $(VENV) $(PADDLE)
