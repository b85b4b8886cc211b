#!/usr/bin/env bash
# Sets everything up and runs the tests: a virtual environment, the package with its test extra, ruff, pytest in two
# processes (S3FT_TEST_PROCESSES; each may take 8 GB in the end).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${S3FT_VENV:-.venv}
python3 -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else 0'
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet -e '.[test]'
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/python" -m pytest -q -n "${S3FT_TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"
