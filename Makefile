# Muster's workshop. `make help` lists what it can do; it needs Python 3.11 (or newer) and make, nothing else.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
EXIT ?= 0
# One for each processor, up to four: each starts its own PostgreSQL, Valkey and stack.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && echo 4 || echo $$n)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test harden conformance check bench dev protos lock sbom audit-deps format clean

help: ## What each target does
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/build.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Muster needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes --no-deps -r requirements/build.txt
	@$(PIP) --require-hashes --no-deps --no-build-isolation --use-pep517 -r requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

setup: $(STAMP) ## Make .venv with everything, versions and hashes locked

demo: $(STAMP) ## The whole stack, an onboarding pushed through it, the outcome compared; EXIT=1 stops after the show
	@$(BIN)/muster demo $(if $(filter 1,$(EXIT)),--exit,)

dev: $(STAMP) ## The whole stack on the embedded engines, data in ./.muster, until Ctrl-C
	@$(BIN)/muster dev --data-dir .muster --ready-file .muster/ready.json

test: $(STAMP) ## Every test, on real PostgreSQL, Valkey and gRPC; in JOBS processes, each with engines of its own
	@$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

harden: $(STAMP) ## The thirty hardening rows, the slow ones too, with pass or fail and the figures
	@$(BIN)/python -m tests.hardening $(ARGS)

conformance: $(STAMP) ## The suites in ../shared/conformance, if they are there, against a new stack; ARGS=okta_spec.py runs one
	@$(BIN)/python -m tests.conformance.run_shared $(ARGS)

check: $(STAMP) ## Lint, types, import rules, wire contract, compose file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m protos.generate --check
	@$(BIN)/python -m protos.generate --image $(VENV)/image.binpb
	@$(BIN)/buf lint $(VENV)/image.binpb --config protos/buf.yaml
	@$(BIN)/buf breaking $(VENV)/image.binpb --config protos/buf.yaml --against protos/baseline.binpb
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

bench: $(STAMP) ## Figures as ratios to a baseline of the same run; JSON in bench.json
	@$(BIN)/python -m tests.bench --json bench.json

protos: $(STAMP) ## Write the protobuf modules from the .proto files
	@$(BIN)/python -m protos.generate

lock: $(STAMP) ## Compile requirements/*.txt from pyproject.toml, with hashes and without index addresses
	@$(COMPILE) requirements/build.in -o requirements/build.txt
	@$(COMPILE) pyproject.toml -o requirements/base.txt
	@$(COMPILE) --extra dev-stack --extra test requirements/build.in pyproject.toml -o requirements/dev.txt

sbom: $(STAMP) ## The bill of materials of what is locked, CycloneDX JSON, in sbom.cdx.json
	@$(BIN)/python -m tests.supply.sbom sbom.cdx.json

audit-deps: $(STAMP) ## Known vulnerabilities of what is locked; needs the advisory service, fails if anything was not looked up
	@$(BIN)/python -m tests.supply.audit

format: $(STAMP) ## Let ruff format and fix what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove .venv and everything generated outside git
	rm -rf $(VENV) .muster bench.json sbom.cdx.json build *.egg-info
