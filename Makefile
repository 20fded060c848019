# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up the environment first.
PYTHON ?= python3
# The tested version; uv finds it on the machine or fetches it.
PYTHON_VERSION ?= 3.11
# Pinned, because another version may keep another cache and compile mmcv again.
UV_VERSION := 0.13.8
UV := $(shell command -v uv || echo .uv/bin/uv)
RUN := .venv/bin/python
DEMO_CONFIG := configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py
DEMO_SEG_CONFIG := configs/demo/upernet_ss-pvtv2-b0_shapes.py
DEMO_DATA := data/shapes
DEMO_OUT := work_dirs/demo
DEMO_SEG_OUT := work_dirs/demo-seg

.PHONY: help setup demo demo-seg test lint docs clean

help:
	@echo 'make demo      set up, train Mask R-CNN + SS-PVTv2-B0 on drawn shapes, draw its predictions'
	@echo 'make demo-seg  the same for semantic segmentation: UperNet + SS-PVTv2-B0'
	@echo 'make test      set up and run the tests'
	@echo 'make setup     set up alone: .venv with the tested versions (about 12 minutes the first time: mmcv compiles)'
	@echo 'make lint      check and format-check the code with ruff'
	@echo 'make docs      build the pages of docs/ into site/; a broken link fails'
	@echo 'make clean     remove .venv, .uv and what the demos made'

setup: .venv/.set-up

.venv/.set-up: pyproject.toml | uv
	$(UV) sync --python $(PYTHON_VERSION) --extra openmmlab --extra dev
	@touch $@

.PHONY: uv
uv:
	@command -v $(UV) > /dev/null || { $(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet uv==$(UV_VERSION); }

# One thread: small operators gain little from a second one, and lose much where other programs share the cores.
demo demo-seg test: export OMP_NUM_THREADS = 1
demo demo-seg: setup
	$(RUN) tools/make_shapes.py $(DEMO_DATA)
	$(RUN) tools/train.py $(CONFIG) --work-dir $(OUT)
	$(RUN) tools/picture.py $(CONFIG) "$$(cat $(OUT)/last_checkpoint)" $(OUT)/predictions.png

demo: CONFIG := $(DEMO_CONFIG)
demo: OUT := $(DEMO_OUT)
demo-seg: CONFIG := $(DEMO_SEG_CONFIG)
demo-seg: OUT := $(DEMO_SEG_OUT)

# a file of tests stays in one process, as its tests share what they have trained
test: setup
	$(RUN) -m pytest --numprocesses 2 --dist loadfile

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

docs: setup
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build

clean:
	rm -rf .venv .uv uv.lock site $(DEMO_DATA) $(DEMO_OUT) $(DEMO_SEG_OUT)
