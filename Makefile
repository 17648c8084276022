# Every target sets up what it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
NAME   ?= demo
RUN    := runs/$(NAME)
DOCS_VENV  ?= .docs-venv
DOCS_READY := $(DOCS_VENV)/.ready
DOCS_NEEDS := sphinx myst-parser furo

.PHONY: help setup demo search-demo test check format settings docs bench bench-peers serve wheel clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## make an environment in .venv with all dependencies

# torch comes first, since building deepspeed needs it. pip compiles packages to bytecode (half a
# minute), which saves every command 1.4 s where Python itself may not write bytecode.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch numpy setuptools
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)  ## train on the sample corpus with two pipeline stages, report BLEU, translate
	rm -rf $(RUN)
	$(BIN)/nmt-train data=sample model=tiny parallel=wavefront parallel.stages=2 name=$(NAME) runs=runs $(DEMO)
	$(BIN)/nmt-evaluate translator.folder=$(RUN)/best data=sample split=test output=$(RUN) minimum_bleu=60
	@printf '%s\n' $(SENTENCES) > $(RUN)/examples.en
	$(BIN)/nmt-translate translator.folder=$(RUN)/best input=$(RUN)/examples.en output=$(RUN)/examples.de
	@paste -d '\n' $(RUN)/examples.en $(RUN)/examples.de

# Small enough to learn the sample in about two minutes on two cores.
DEMO = model.hidden_size=128 model.dropout=0.1 data.batch.tokens=500 parallel.micro_batches=2 \
       optimizer.learning_rate=0.005 schedule.warmup_steps=60 training.max_epochs=7 \
       training.average.every=10 training.average.decay=0.8 training.validate_every=330

SENTENCES = 'Tomorrow my brother will visit the museum.' \
            'The old baker gave the girl a red apple.' \
            'Julia is happy because the children are laughing.'

search-demo: $(READY)  ## search for an update rule on the sample corpus: 20 children, a leaderboard and a page
	rm -rf runs/search-demo
	$(BIN)/nmt-train -m hydra/sweeper=evolution search=rules data=sample name=search-demo runs=runs $(SEARCH_DEMO)
	@echo "Open runs/search-demo/page.html."

SEARCH_DEMO = search.budget.by=tokens search.budget.child=30000 search.budget.children=20 \
              model.hidden_size=128 data.batch.tokens=500

test: $(READY)  ## run all tests
	$(BIN)/python -m pytest

check: $(READY)  ## check formatting, lint, strict types and links of the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m tests.doc_links

format: $(READY)  ## format the code and fix lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

settings: $(READY)  ## write docs/settings.md, the reference of all settings
	$(BIN)/python -m nmt.config.reference > docs/settings.md.new
	mv docs/settings.md.new docs/settings.md

docs: $(DOCS_READY)  ## build the documentation site in build/docs
	$(DOCS_VENV)/bin/sphinx-build --fail-on-warning --keep-going --quiet -c docs . build/docs
	@echo "Open build/docs/index.html."

# Sphinx has an environment of its own, since neither environment needs the other's packages.
$(DOCS_READY): constraints.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet -c constraints.txt $(DOCS_NEEDS)
	@touch $@

bench: $(READY)  ## measure (only=train, pipeline, placement, decode, trained, server, gpu); writes runs/bench/bench.json
	$(BIN)/python -m tests.benchmarks $(if $(only),only=$(only)) $(ARGUMENTS)

bench-peers: $(READY)  ## install Marian, Joey NMT and CTranslate2 in .bench-venv, for comparison in `make bench`
	$(BIN)/python -m tests.benchmarks.peers

serve: $(READY)  ## serve the demo's model on http://127.0.0.1:5000
	$(BIN)/nmt-serve models=$(RUN)/best

wheel: $(READY)  ## build a wheel in dist/
	$(BIN)/python -m build --wheel

clean:  ## remove everything that was built, but not runs/
	rm -rf $(VENV) .bench-venv $(DOCS_VENV) dist build .pytest_cache .mypy_cache .ruff_cache
