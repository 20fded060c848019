# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up the environment first.
# The tested version comes first. A shim of pyenv may be there and not run, so each one is tried.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.10 python3 python \
	"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[012].*/bin/python "$$(uv python find '>=3.10,<3.13' 2> /dev/null)"; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2> /dev/null && echo $$python && break; \
	done)
# Other versions than the tested ones (environment/stacks/): make test STACK=onedl
STACK ?=
VENV := .venv$(if $(STACK),-$(STACK))
RUN := $(VENV)/bin/python
DEMO_CONFIG := configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py
DEMO_SEG_CONFIG := configs/demo/upernet_ss-pvtv2-b0_shapes.py
DEMO_DATA := data/shapes
DEMO_OUT := work_dirs/demo
DEMO_SEG_OUT := work_dirs/demo-seg

.PHONY: help setup demo demo-seg test test-oldest lint docs clean

help:
	@echo 'make demo      set up, train Mask R-CNN + SS-PVTv2-B0 on drawn shapes, draw its predictions'
	@echo 'make demo-seg  the same for semantic segmentation: UperNet + SS-PVTv2-B0'
	@echo 'make test      set up and run the tests'
	@echo '               STACK=onedl: with the maintained forks of OpenMMLab, in .venv-onedl'
	@echo 'make test-oldest  the tests that need no compiled mmcv, with the oldest versions that are promised'
	@echo 'make setup     set up alone: .venv with the tested versions (some minutes the first time, as mmcv compiles)'
	@echo 'make lint      check and format-check the code with ruff'
	@echo 'make docs      build the pages of docs/ into site/; a broken link fails'
	@echo 'make clean     remove .venv, .uv and what the demos made'

# what comes next is said where it is read: at the end
NEXT = @echo 'To use the environment: source $(VENV)/bin/activate   (then "ss-backbones --help" lists the commands)'

setup: $(VENV)/.set-up
	$(if $(filter setup,$(MAKECMDGOALS)),$(NEXT))

$(VENV)/.set-up: pyproject.toml $(wildcard environment/stacks/$(STACK)/pyproject.toml)
	$(if $(PYTHON),,$(error There is no Python 3.10, 3.11 or 3.12 here. Install one, or name one that is not on the \
	search path: make setup PYTHON=/path/to/python3.11))
	@$(strip $(PYTHON) environment/set_up.py $(STACK))

# One thread: small operators gain little from a second one, and lose much where other programs share the cores.
demo demo-seg test: export OMP_NUM_THREADS = 1
demo demo-seg: setup
	$(RUN) tools/make_shapes.py $(DEMO_DATA)
	$(RUN) tools/train.py $(CONFIG) --work-dir $(OUT) --resume # a finished one is not trained again
	$(RUN) tools/picture.py $(CONFIG) "$$(cat $(OUT)/last_checkpoint)" $(OUT)/predictions.png
	$(NEXT)

demo: CONFIG := $(DEMO_CONFIG)
demo: OUT := $(DEMO_OUT)
demo-seg: CONFIG := $(DEMO_SEG_CONFIG)
demo-seg: OUT := $(DEMO_SEG_OUT)

# a file of tests stays in one process, as its tests share what they have trained
test: setup
	$(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-oldest:
	$(MAKE) test STACK=oldest

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

docs: setup
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build

clean:
	rm -rf .venv .venv-* .uv uv.lock environment/stacks/*/uv.lock site $(DEMO_DATA) $(DEMO_OUT) $(DEMO_SEG_OUT)
