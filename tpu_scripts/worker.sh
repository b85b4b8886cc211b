#!/usr/bin/env bash
# On one worker: what tpu_scripts/pod.sh asks of each. All of it also works by hand, logged in to a worker.
#
#   worker.sh setup               Python 3.11 or newer, and the package with pinned versions
#   worker.sh start COMMAND ...   in the background; its output goes to ~/.s3ft_job/log
#   worker.sh tail                that log, each line with this worker's name, until the command ends; its exit code
#   worker.sh status              NODE WORKER running | idle | ended CODE
#   worker.sh stop                SIGTERM, on which s3ft saves what it has; SIGKILL a minute later
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
job=$HOME/.s3ft_job
host=$(hostname)
label=${POD_NODE:-$host} # a worker of a slice is called t1v-n-1a2b3c4d-w-0
[ "${host##*-w-}" = "$host" ] || label+=" w-${host##*-w-}"
export PATH="$tree/.venv/bin:$HOME/.local/bin:$PATH"

running() { [ -s "$job/pid" ] && kill -0 -- "-$(cat "$job/pid")" 2>/dev/null; }

extras() { # by the hardware that is here
  if compgen -G '/dev/accel*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' >/dev/null; then echo tpu,eval
  elif command -v nvidia-smi >/dev/null; then echo cuda,gcs,eval
  else echo gcs,eval; fi
}

setup() { # TPU VM images ship an older Python: uv brings its own
  cd "$tree"
  command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
  uv venv --quiet --allow-existing --python "${POD_PYTHON:-3.11}" .venv
  uv pip install --quiet --python .venv/bin/python --constraint tpu_scripts/constraints.txt -e ".[${POD_EXTRAS:-$(extras)}]"
  echo "$label set up: $(.venv/bin/python --version), $(.venv/bin/s3ft --help | head -1)"
}

start() {
  ! running || { echo "$label: $(cat "$job/command") is running; worker.sh stop ends it" >&2; exit 1; }
  mkdir -p "$job"
  rm -f "$job/exit" "$job/pid" "$job/log" /tmp/libtpu_lockfile # left behind by a killed process
  echo "$*" >"$job/command"
  cd "$tree"
  [ -z "${POD_BUCKET:-}" ] || export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$POD_BUCKET/programs}"
  # the command leads a group of its own, so that a signal to it spares the shell that writes down how it ended
  # shellcheck disable=SC2016
  nohup bash -c 'job=$1; shift
    setsid "$@" & echo $! >"$job/pid"
    code=0; wait $! || code=$?
    echo $code >"$job/.exit"; mv "$job/.exit" "$job/exit"' start "$job" "$@" >"$job/log" 2>&1 </dev/null &
  for _ in $(seq 50); do [ -s "$job/pid" ] && break; sleep 0.1; done
}

tail_log() { # a bar of progress becomes a line for each turn
  [ -s "$job/pid" ] || { echo "[$label] nothing was started"; return 0; }
  tail -n +1 -f --pid="$(cat "$job/pid")" "$job/log" | sed -u "s/\r/\n/g; s/^/[$label] /; s/\n/\n[$label] /g"
  echo "[$label] ended with code $(ended)"
}

ended() { # the exit code, which the shell beside the command writes down; 137 where that was killed, too
  for _ in $(seq 20); do [ -f "$job/exit" ] && break; sleep 0.1; done
  cat "$job/exit" 2>/dev/null || echo 137
}

status() {
  if [ ! -s "$job/pid" ]; then echo "$label idle"
  elif running; then echo "$label running"
  else echo "$label ended $(ended)"; fi
}

stop() {
  running || { echo "$label: nothing is running"; return 0; }
  kill -TERM -- "-$(cat "$job/pid")" 2>/dev/null || true
  for _ in $(seq "${POD_STOP_S:-60}"); do running || break; sleep 1; done
  ! running || { echo "$label: did not stop, killed"; kill -KILL -- "-$(cat "$job/pid")" 2>/dev/null || true; }
  echo "$label stopped"
}

case ${1:-} in
  setup | status | stop) "$1" ;;
  start) shift; start "$@" ;;
  tail) tail_log ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
