# 'make demo' is the way in; see README.md.
PY := .venv/bin/python

.PHONY: help demo demo-down check test test-long bench clean

help:
	@echo "make demo       a host on this machine, deployed over SSH and verified; prints its URL"
	@echo "make demo-down  and gone again"
	@echo "make check      lint, types and unit tests (seconds, no root)"
	@echo "make test       everything, on real hosts; make test-long adds what takes longer"
	@echo "make bench      figures: first and second run against their peers"
	@echo "make clean      hosts, cached images and the virtualenv are removed"

demo:
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m testbed demo

demo-down:
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m testbed demo-down

check:
	@sh testbed/bootstrap.sh check
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --quiet --check .
	@$(PY) -m mypy --no-error-summary
	@$(PY) -m pytest -q -n 2 tests/unit

test: check
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m pytest -v -n 3 --dist loadgroup --durations=15 tests/host

test-long: check
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m pytest -v -n 3 --dist loadgroup --durations=15 tests/host --long

bench:
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m testbed bench

clean:
	@if [ -x $(PY) ]; then $(PY) -m testbed clean; fi
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
