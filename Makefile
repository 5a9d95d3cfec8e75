# make stitch   the whole chain on the embedded networks        make test   everything that CI checks
# make ui       the recorded runs in the browser                make setup  environment and weights only
# make lint     style, types, import directions                 make repro  rebuild what is stale, as DVC sees it
# make scene PROMPT="a red sphere on a wooden floor"   generates, then shows the scene in the browser
# make picture  README's first picture, of what make stitch left
# make docs     the documentation in build/site, with warnings as errors   make readme   README's tables, from reports
# make view SCENE=data/07_model_output/generated/NAME   a generated scene in the browser; without SCENE the newest

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: stitch test test-long mutations documented docs readme wheel ui scene view picture viewer serve lint setup repro lock newest remote

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PORT ?= 5000
VIEW_PORT ?= 8000
SERVE_PORT ?= 5001
SCENE ?=
PROMPT ?= a red sphere on a wooden floor
# Test processes; each takes one core.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 1); echo $$((n < 4 ? n : 4)))

# The programs of the environment first, so that DVC's stages find `kedro`.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Waiting threads must not spin: on a busy machine that costs a factor of ten.
export OMP_WAIT_POLICY := PASSIVE
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

ENVIRONMENT := .venv/.installed
WEIGHTS := .venv/.weights
# What tests and checks need beside it.
TOOLS := .venv/.tools

stitch: setup
	kedro run --pipelines=stitch

setup: $(ENVIRONMENT) $(WEIGHTS)

PYTEST_OPTIONS := -q -n $(WORKERS) --dist loadfile --jaxtyping-packages=vist3a,vist3a_app,vist3a_lab,beartype.beartype
PYTEST := OMP_NUM_THREADS=1 pytest $(PYTEST_OPTIONS)

test: setup $(TOOLS) lint
	$(PYTEST) -m "not long"

test-long: setup $(TOOLS)
	$(PYTEST) -m long

# Whether the tests notice errors in the code: those of an audit by name, and a hundred drawn by seed (hours; goes on where it was).
mutations: setup $(TOOLS)
	python tests/mutations

# Every command that README.md, the pages of docs and CONVENTIONS.md name, in a fresh clone of what is committed (an hour).
documented: setup $(TOOLS)
	python .ci/documented_commands.py --environment .venv

# The site, from the pages in docs, the docstrings, the reports and the notebooks, which are run (minutes the first time, seconds
# where nothing has changed). Links and anchors are checked, and so is all that commands name.
docs: setup $(TOOLS)
	python .ci/documented_commands.py --parse
	NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1 mkdocs build --strict --quiet
	@echo "build/site/index.html"

# The wheel in build/wheel, tried in a new environment that has nothing of this checkout but its dependencies.
wheel: $(ENVIRONMENT)
	rm -rf build/wheel build/wheel-environment build/lib
	.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	.venv/bin/python -m venv --without-pip build/wheel-environment
	.venv/bin/python -c 'import site; print(*site.getsitepackages(), sep="\n")' \
		> "$$(echo build/wheel-environment/lib/python3.*/site-packages)/locked.pth"
	.venv/bin/python -m pip --python build/wheel-environment/bin/python install --quiet --no-deps build/wheel/*.whl
	cd build && wheel-environment/bin/vist3a --help > /dev/null
	cd build && wheel-environment/bin/python -c 'import vist3a; print(vist3a.__version__, vist3a.__file__)'

# README's tables, from reports.
readme: $(ENVIRONMENT)
	python docs/site/readme.py

lint: $(TOOLS)
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo

ui: $(ENVIRONMENT)
	@echo "http://127.0.0.1:$(PORT)  (Ctrl-C ends it)"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --backend-store-uri sqlite:///mlflow.db \
		--default-artifact-root mlruns --host 127.0.0.1 --port $(PORT) --workers 1

# From a prompt to the open viewer, in one command. Through a file and unexpanded: commas, quotes and dollars stay what they are.
unexport PROMPT
scene: setup
	@printf '%s\n' '$(subst ','\'',$(value PROMPT))' > data/07_model_output/.prompt.txt
	kedro run --pipelines=generate --params=generate.prompts_file=data/07_model_output/.prompt.txt
	@python -m vist3a.export.serve --port $(VIEW_PORT)

# The newest scene, unless SCENE names a folder (or its viewer.html). Served on this machine only.
view: $(ENVIRONMENT)
	@python -m vist3a.export.serve "$(SCENE)" --port $(VIEW_PORT)

# README's first picture, of what `make stitch` has left (a minute).
picture: setup
	python docs/before_after.py

# Rebuilds the viewer's program from viewer/ (needs node and npm).
viewer:
	cd viewer && npm ci --ignore-scripts && npm run build

# The registered generator behind HTTP: POST /invocations {"dataframe_records": [{"prompt": "a red sphere"}]}
serve: $(ENVIRONMENT)
	MLFLOW_TRACKING_URI=sqlite:///mlflow.db mlflow models serve -m models:/vist3a/latest --env-manager local \
		--host 127.0.0.1 --port $(SERVE_PORT)

repro: setup
	dvc repro

$(ENVIRONMENT): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "vist3a needs Python 3.11 or later; none found. Install one or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "vist3a needs Python 3.11 or later, $(PYTHON) is " + sys.version.split()[0])'
	test -x .venv/bin/python || "$(PYTHON)" -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(TOOLS): requirements-dev.lock $(ENVIRONMENT)
	.venv/bin/python -m pip install --quiet -r requirements-dev.lock --constraint requirements.lock
	@touch $@

# The embedded networks, from the remote inside the repository. Without git (an archive), DVC must be told so.
$(WEIGHTS): dvc.lock .dvc/config | $(ENVIRONMENT)
	@git rev-parse --git-dir >/dev/null 2>&1 || dvc config --quiet --local core.no_scm true
	dvc pull --quiet pretrain
	@touch $@

# After networks were retrained and committed: the remote inside the repository has what dvc.lock names, and nothing else.
remote: $(ENVIRONMENT)
	dvc fetch --quiet pretrain
	rm -rf dvc_remote/files
	dvc push --quiet pretrain

# New lock files: newest versions that pyproject.toml allows, then exactly what was installed.
lock:
	rm -rf build/lock && "$(PYTHON)" -m venv build/lock
	build/lock/bin/python -m pip install --quiet ".[dev,docs]"
	build/lock/bin/python .ci/lock.py
	rm -rf build/lock

# Whether the newest of these fit, whatever the bounds in pyproject.toml say: kits, twins and the other tests of what uses their
# insides (minutes). They are installed over the environment, into a folder of their own that it does not see.
NEWEST := diffusers transformers peft
NEWEST_TESTS := tests/testing tests/generators tests/adapters tests/scorers tests/examples tests/test_examples.py \
	tests/alignment/test_align_step.py tests/app/pipelines/test_networks.py tests/app/test_rehearsal.py

newest: setup $(TOOLS)
	rm -rf build/newest && .venv/bin/python -m venv --without-pip build/newest
	.venv/bin/python -c 'import site; print("$(CURDIR)/src", *site.getsitepackages(), sep="\n")' \
		> "$$(echo build/newest/lib/python3.*/site-packages)/locked.pth"
	.venv/bin/python -m pip --python build/newest/bin/python install --quiet --upgrade $(NEWEST)
	build/newest/bin/python -c 'from importlib.metadata import version; print(*(f"{n} {version(n)}" for n in "$(NEWEST)".split()))'
	OMP_NUM_THREADS=1 build/newest/bin/python -m pytest $(PYTEST_OPTIONS) -m "not long" $(NEWEST_TESTS)
