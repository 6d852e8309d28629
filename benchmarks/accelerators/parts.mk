# The parts of `make accelerators`, each in an environment of its own; the longest come first.
RUN = -m benchmarks.accelerators
LOG = --kernels $(KERNELS) --name
REQUIREMENTS = benchmarks/accelerators/requirements
DONE = build/accelerators

ifeq ($(NEWEST),)
  $(error the newest JAX needs Python 3.12, and there is no python3.12 here: give NEWEST=its path)
endif

# With BRIEF=--brief: fewer cells for GPUs and for v6e, no large linear cells, and no bundles
BRIEF ?=

.PHONY: all
all: $(addprefix $(DONE)/,gpu.json tpu-v5e.json tpu-v6e.json newest-v5e.json newest-v6e.json \
  $(if $(BRIEF),,bundles-v5e.json) faults-v5e.json faults-h100.json)

$(DONE)/gpu.json: .venv-gpu/.done
	.venv-gpu/bin/python $(RUN) gpu $(BRIEF) $(LOG) gpu

$(DONE)/tpu-v5e.json: .venv-tpu/.done
	.venv-tpu/bin/python $(RUN) tpu v5e $(if $(BRIEF),,--linear) $(LOG) tpu-v5e

$(DONE)/tpu-v6e.json: .venv-tpu/.done
	.venv-tpu/bin/python $(RUN) tpu v6e $(BRIEF) $(LOG) tpu-v6e

$(DONE)/newest-v5e.json: .venv-tpu-newest/.done
	.venv-tpu-newest/bin/python $(RUN) tpu v5e --brief $(LOG) newest-v5e

$(DONE)/newest-v6e.json: .venv-tpu-newest/.done
	.venv-tpu-newest/bin/python $(RUN) tpu v6e --brief $(LOG) newest-v6e

$(DONE)/bundles-v5e.json: .venv-tpu/.done
	.venv-tpu/bin/python $(RUN) bundles v5e $(LOG) bundles-v5e

$(DONE)/faults-v5e.json: .venv-tpu/.done
	.venv-tpu/bin/python $(RUN) faults v5e $(LOG) faults-v5e

$(DONE)/faults-h100.json: .venv-gpu/.done
	.venv-gpu/bin/python $(RUN) faults h100 $(LOG) faults-h100

.venv-tpu/.done: $(REQUIREMENTS)/tpu.txt
	$(PYTHON) -m venv .venv-tpu
	.venv-tpu/bin/python -m pip install --quiet -r $<
	touch $@

.venv-tpu-newest/.done: $(REQUIREMENTS)/tpu-newest.txt
	$(NEWEST) -m venv .venv-tpu-newest
	.venv-tpu-newest/bin/python -m pip install --quiet -r $<
	touch $@

.venv-gpu/.done: $(REQUIREMENTS)/gpu.txt $(REQUIREMENTS)/gpu-compiler.txt
	$(NEWEST) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet -r $(REQUIREMENTS)/gpu.txt
	.venv-gpu/bin/python -m pip install --quiet --no-deps -r $(REQUIREMENTS)/gpu-compiler.txt
	touch $@
