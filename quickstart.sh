#!/usr/bin/env bash
# Sets everything up and runs the main job: a virtual environment, the package, the quickstart.
# Arguments go to `s3ft run`; the report is runs/quickstart/report.html.
set -euo pipefail
cd "$(dirname "$0")"
venv=${S3FT_VENV:-.venv}
python3 -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else 0'
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet -e .
exec "$venv/bin/s3ft" run --config=configs/quickstart.py --workdir=runs/quickstart "$@"
