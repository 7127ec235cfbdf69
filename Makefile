# 'make demo' is the way in; see README.md.
PY := .venv/bin/python
ON_HOSTS := -v -n 3 --max-worker-restart=0 --dist loadgroup --no-loadscope-reorder --durations=15 tests/host tests/commands

.PHONY: help bundle demo demo-down check docs pictures test test-long test-vagrant bench clean

help:
	@echo "make demo       a host on this machine, deployed over SSH and verified; prints its URL"
	@echo "make demo-down  removes it again"
	@echo "make bundle     one file to install hosts without the internet from: INVENTORY=... SUITE=bookworm"
	@echo "make check      lint, types and unit tests (half a minute, no root)"
	@echo "make docs       builds the book into site/"
	@echo "make pictures   the book's pictures of the terminal, from real runs"
	@echo "make test       all tests, on booted hosts; make test-long adds the slow ones"
	@echo "make test-vagrant  tests the Vagrantfile and its inventory, with LXC"
	@echo "make bench      times of a first and a second run, compared with other tools"
	@echo "make clean      removes hosts, cached images and the virtualenv"

demo:
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m testbed demo

demo-down:
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m testbed demo-down

# MORE has further options: '--host NAME', '--python 3.11', '--output FILE', '--mirror URL'.
bundle:
	@$(PY) -m catmaid_deploy.tasks.bundle "$(INVENTORY)" "$(SUITE)" $(MORE)

check:
	@sh testbed/bootstrap.sh check
	@$(MAKE) --no-print-directory --jobs=3 lint types unit

# Side by side: each leaves processors idle.
.PHONY: lint types unit
lint:
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --quiet --check .

types:
	@$(PY) -m mypy --no-error-summary

unit:
	@$(PY) -m pytest -q -n 2 tests/unit

# 'make test' builds it as well, in tests/commands/test_book.py.
docs:
	@sh testbed/bootstrap.sh docs
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo "--> the book is in site/: $(PY) -m http.server --bind 127.0.0.1 --directory site"

# The terminals that the book shows; they are committed.
pictures:
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m testbed pictures

test: check
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m pytest $(ON_HOSTS)

test-long: check
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m pytest -q -n 2 tests/unit --long
	@$(PY) -m pytest $(ON_HOSTS) --long

test-vagrant:
	@sh testbed/bootstrap.sh vagrant
	@$(PY) -m testbed test-vagrant

bench:
	@sh testbed/bootstrap.sh hosts
	@$(PY) -m testbed bench

clean:
	@if [ -x $(PY) ]; then $(PY) -m testbed clean; fi
	@rm -rf .venv site .mypy_cache .ruff_cache .pytest_cache
