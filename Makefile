# The five things one does here. `make setup` comes first.
.PHONY: setup test check docs demo

setup: ## Create .venv with the pinned versions.
	python3 -m venv .venv
	.venv/bin/pip install -q -c constraints.txt -e '.[test]'

test: ## Run the tests (about a quarter of an hour).
	.venv/bin/pytest

check: ## Run what takes seconds: style, types, imports.
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

docs: ## Build the documentation site in site/.
	.venv/bin/mkdocs build --strict

demo: ## Build a month of simulated history and open the Dagster UI.
	.venv/bin/sf-assets demo
