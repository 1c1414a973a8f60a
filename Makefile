# Two commands do everything on a machine with git, make and one of Python 3.8 to 3.11:
#   make mnist    train the example, softmax alone and with center loss
#   make test     linter, tests and doctests
# PYTHON=... chooses the interpreter, ARGS=... passes options on (make mnist ARGS="--devices 2").

PYTHON ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: mnist test quick clean
.DELETE_ON_ERROR:

mnist: $(VENV)/examples.stamp
	$(BIN)/python -m examples.mnist_center_loss $(ARGS)

test: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/python -m pytest $(ARGS)

quick: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

$(VENV)/examples.stamp: setup.py $(VENV)/python.stamp
	$(PIP) --editable '.[examples]'
	@touch $@

$(VENV)/test.stamp: setup.py $(VENV)/python.stamp
	$(PIP) --editable '.[examples,test,dev]'
	@touch $@ $(VENV)/examples.stamp

# Asked for another interpreter than the one inside: made anew.
$(VENV)/python.stamp: .ci/venv FORCE
	@sh .ci/venv $(VENV) $(PYTHON)

FORCE:

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info
