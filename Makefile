# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up the environment first.
PYTHON ?= python3
# The tested version; uv finds it on the machine or fetches it.
PYTHON_VERSION ?= 3.11
# Pinned, because another version may keep another cache and compile mmcv again.
UV_VERSION := 0.13.8
UV := $(shell command -v uv || echo .uv/bin/uv)
RUN := .venv/bin/python
DEMO_CONFIG := configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py
DEMO_DATA := data/shapes
DEMO_OUT := work_dirs/demo

.PHONY: help setup demo test lint clean

help:
	@echo 'make demo    set up, train Mask R-CNN + SS-PVTv2-B0 on drawn shapes, draw its predictions'
	@echo 'make test    set up and run the tests'
	@echo 'make setup   set up alone: .venv with the tested versions (about 12 minutes the first time: mmcv compiles)'
	@echo 'make lint    check and format-check the code with ruff'
	@echo 'make clean   remove .venv, .uv and what the demo made'

setup: .venv/.set-up

.venv/.set-up: pyproject.toml | uv
	$(UV) sync --python $(PYTHON_VERSION) --extra openmmlab --extra dev
	@touch $@

.PHONY: uv
uv:
	@command -v $(UV) > /dev/null || { $(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet uv==$(UV_VERSION); }

# One thread: small operators gain little from a second one, and lose much where other programs share the cores.
demo test: export OMP_NUM_THREADS = 1
demo: setup
	$(RUN) tools/make_shapes.py $(DEMO_DATA)
	$(RUN) tools/train.py $(DEMO_CONFIG) --work-dir $(DEMO_OUT)
	$(RUN) tools/picture.py $(DEMO_CONFIG) "$$(cat $(DEMO_OUT)/last_checkpoint)" $(DEMO_OUT)/predictions.png

test: setup
	$(RUN) -m pytest

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

clean:
	rm -rf .venv .uv uv.lock $(DEMO_DATA) $(DEMO_OUT)
