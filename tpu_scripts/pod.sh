#!/usr/bin/env bash
# One command for all workers of a TPU slice, of several slices, or of a list of GPU machines.
#
#   tpu_scripts/pod.sh [--dry-run] COMMAND
#
#   create                ask for the slice (a queued resource) and wait until it is there
#   setup                 copy this tree to every worker, install Python 3.11 and the package there
#   copy                  copy the tree again, after a change
#   run COMMAND ...       start COMMAND on every worker, follow what they print, end as they end; the command goes on
#                         when this terminal is closed
#   tail                  follow what they print
#   status                the slice, and what COMMAND does on each worker
#   stop                  ask COMMAND to stop on every worker; what is finished is kept
#   delete                give the slice back
#   until-done COMMAND    create, setup, run; again after a preemption, until COMMAND has ended well
#
# Settings are environment variables, or lines of tpu_scripts/pod.env (see pod.env.example). --dry-run prints every
# gcloud and ssh command in place of running it, as if all went well.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(dirname "$here")
# shellcheck source=/dev/null
[ ! -f "${POD_ENV:-$here/pod.env}" ] || . "${POD_ENV:-$here/pod.env}"

name=${POD_NAME:-s3ft} zone=${POD_ZONE:-} project=${POD_PROJECT:-} type=${POD_TYPE:-v5litepod-8}
slices=${POD_SLICES:-1} spot=${POD_SPOT:-1} bucket=${POD_BUCKET:-} hosts=${POD_HOSTS:-}
port=${POD_PORT:-8476} poll=${POD_POLL_S:-30} attempts=${POD_ATTEMPTS:-100} dry=
[ "$bucket" != gs://BUCKET ] || { echo "pod: POD_BUCKET is still the example's: edit tpu_scripts/pod.env" >&2; exit 2; }
restart_code=75 # s3ft_jax/stopping.py: stopped from outside, start it again

say() { printf 'pod: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }
usage() { sed -n '3,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

act() { # a command of the cloud or of ssh; with --dry-run it is printed
  if [ -z "$dry" ]; then "$@"; else echo "+ $(quoted "$@")"; fi
}
quoted() { # words as a shell reads them, in quotes where they need any
  local word line=
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=@,+%-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
    line+="$word "
  done
  echo "${line% }"
}
cloud() { # gcloud compute tpus GROUP VERB ... with project and zone
  local group=$1 verb=$2
  shift 2
  act gcloud compute tpus "$group" "$verb" "$@" --zone="$zone" ${project:+--project="$project"}
}
need_slice() { # the settings of a slice, for what speaks to the cloud
  [ -z "$hosts" ] || return 0
  [ -n "$zone" ] || fail "POD_ZONE is not set (us-west4-a, say; where a type is offered: gcloud compute tpus accelerator-types list)"
  case $type in
    v4-*) runtime=tpu-ubuntu2204-base ;;
    v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
    v5p-*) runtime=v2-alpha-tpuv5 ;;
    v6e-*) runtime=v2-alpha-tpuv6e ;;
    *) [ -n "${POD_RUNTIME:-}" ] || fail "POD_TYPE=$type: v4-N, v5litepod-N, v5p-N or v6e-N; for another one give POD_RUNTIME" ;;
  esac
  runtime=${POD_RUNTIME:-$runtime}
}
nodes() { # names of what is reached as one: machines, or slices
  if [ -n "$hosts" ]; then tr ' ' '\n' <<<"$hosts"; elif [ "$slices" = 1 ]; then echo "$name"; else
    seq -f "$name-%.0f" 0 $((slices - 1))
  fi
}
state() { # of the queued resource; NONE where there is none
  if [ -n "$dry" ]; then
    cloud queued-resources describe "$name" --format='value(state.state)' >&2
    echo "${created:-NONE}"
    return
  fi
  cloud queued-resources describe "$name" --format='value(state.state)' 2>/dev/null || echo NONE
}

# ------------------------------------------------------------------ all workers

reach() { # NODE INDEX COMMAND: on each worker of a node
  if [ -n "$hosts" ]; then
    # shellcheck disable=SC2086
    act ssh ${POD_SSH_FLAGS:-} "$1" "$(environment "$1" "$2") $3"
  else
    cloud tpu-vm ssh "$1" --worker=all --command="$(environment "$1" "$2") $3"
  fi
}
environment() { # NODE INDEX: what a worker is told, as words before a command
  local pairs=(POD_NODE="$1") variable first
  [ -z "$bucket" ] || pairs+=(POD_BUCKET="$bucket")
  [ -z "${POD_PORT:-}" ] || pairs+=(S3FT_PORT="$port")
  if [ -n "$hosts" ]; then # nobody else tells such machines who belongs together
    first=$(nodes | head -1)
    pairs+=(S3FT_COORDINATOR="${first#*@}:$port" S3FT_NUM_PROCESSES="$(nodes | wc -l)" S3FT_PROCESS="$2")
  fi
  for variable in POD_EXTRAS POD_PYTHON POD_STOP_S; do # of worker.sh
    [ -z "${!variable:-}" ] || pairs+=("$variable=${!variable}")
  done
  for variable in ${POD_FORWARD:-HF_TOKEN WANDB_API_KEY}; do
    [ -z "${!variable:-}" ] || pairs+=("$variable=$([ -n "$dry" ] && echo ... || echo "${!variable}")")
  done
  echo "env $(quoted "${pairs[@]}")"
}
everywhere() { # COMMAND: on all workers of all nodes at once; fails where one fails
  local index=0 node failed=0 running=()
  for node in $(nodes); do
    if [ -n "$dry" ]; then reach "$node" $index "$1"; else
      reach "$node" $index "$1" </dev/null &
      running+=($!)
    fi
    index=$((index + 1))
  done
  for node in "${running[@]}"; do wait "$node" || failed=1; done
  return $failed
}
worker() { # VERB [COMMAND ...]: worker.sh on all workers
  everywhere "bash s3ft_jax/tpu_scripts/worker.sh $(quoted "$@")"
}

# --------------------------------------------------------------------- commands

create() {
  [ -z "$hosts" ] || return 0
  local now before='' shape=(--node-id="$name")
  [ "$slices" = 1 ] || shape=(--node-count="$slices" --node-prefix="$name")
  [ "$spot" = 0 ] || shape+=(--spot)
  now=$(state)
  case $now in SUSPENDED | SUSPENDING | FAILED | DELETING) remove ;& NONE)
    cloud queued-resources create "$name" --accelerator-type="$type" --runtime-version="$runtime" "${shape[@]}" || return 1
    created=ACTIVE # as --dry-run has it
    now=$(state) ;;
  esac
  while [ "$now" != ACTIVE ]; do
    case $now in FAILED | SUSPENDED | NONE)
      say "the cloud does not give $name: $now; why: gcloud compute tpus queued-resources describe $name --zone=$zone"
      return 1 ;;
    esac
    [ "$now" = "$before" ] || say "$name: $now"
    before=$now
    sleep "$poll"
    now=$(state)
  done
  say "$name: ACTIVE ($slices x $type)"
}
copy() {
  local archive node
  archive=$(mktemp) || return 1
  (cd "$tree" && { git ls-files -co --exclude-standard 2>/dev/null || find . -type f -not -path './runs/*'; } |
    while IFS= read -r file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done | tar -czf "$archive" --null -T -) || return 1
  for node in $(nodes); do
    if [ -n "$hosts" ]; then
      # shellcheck disable=SC2086
      act scp ${POD_SSH_FLAGS:-} "$archive" "$node:s3ft_jax.tgz" || return 1
    else
      cloud tpu-vm scp "$archive" "$node:s3ft_jax.tgz" --worker=all || return 1
    fi
  done
  rm -f "$archive"
  everywhere "tar -xzf s3ft_jax.tgz --one-top-level=s3ft_jax"
}
report() { # a line of each worker: NODE [w-K] running | idle | ended CODE
  if [ -n "$dry" ]; then worker status >&2; echo "$name w-0 ended 0"; else worker status; fi
}
result() { # of `report` on stdin: running, or the code to end with; empty: nobody answered
  awk '$NF == "running" { r = 1 } $NF == "idle" { n++; soft = "idle" }
    $(NF - 1) == "ended" { n++; if ($NF == 1 || $NF == 2 || $NF == 130) hard = $NF; else if ($NF) soft = $NF }
    END { if (r) print "running"; else if (hard) print hard; else if (soft) print soft; else if (n) print 0 }'
}
follow() { # until COMMAND has ended on all workers; its code is the result
  local said now=running printing
  if [ -n "$dry" ]; then worker tail; else worker tail & fi
  printing=${!:-}
  while [ "$now" = running ]; do
    [ -n "$dry" ] || sleep "$poll"
    said=$(report) || true
    now=$(result <<<"$said")
  done
  if [ -z "$now" ]; then # nobody answers: what follows their logs may wait for ever
    say "no worker answers"
    [ -n "$dry" ] || kill "$printing" 2>/dev/null || true
  elif [ -z "$dry" ]; then wait "$printing" || true; fi
  [ "$now" = 0 ] || [ -z "$said" ] || printf '%s\n' "$said" >&2
  case $now in 0) return 0 ;; '' | idle) return $restart_code ;; *) return "$now" ;; esac
}
remove() {
  [ -n "$hosts" ] || cloud queued-resources delete "$name" --force --quiet
}
until_done() {
  local attempt code=0 fresh=1
  for ((attempt = 1; attempt <= attempts; attempt++)); do
    case $(state) in ACTIVE) ;; *) fresh=1 ;; esac
    code=$restart_code
    if create && { [ $fresh = 0 ] || { copy && worker setup; }; }; then
      fresh=0
      if [ -z "$dry" ] && [ "$(report | result)" = running ]; then
        say "it is running already"
        { follow && code=0; } || code=$?
      elif worker start "$@"; then
        { follow && code=0; } || code=$?
      else
        worker stop || true # where it could be started: it would wait for the others
      fi
    fi
    case $code in
      0) say "done, at attempt $attempt. The slice is still yours: tpu_scripts/pod.sh delete"; return 0 ;;
      1 | 2 | 130) say "ended with code $code, which another start would not mend; see above"; return "$code" ;;
    esac
    say "attempt $attempt of $attempts ended with code $code; again"
    [ -n "$dry" ] || sleep "$poll"
  done
  say "given up after $attempts attempts (POD_ATTEMPTS)"
  return "$code"
}

[ "${1:-}" != --dry-run ] || { dry=1; shift; }
command=${1:-help}
shift || true
case $command in
  run | until-done) [ $# -gt 0 ] || fail "$command: say what to run, e.g. $command s3ft run --config=... --workdir=gs://..." ;;
  create | setup | copy | tail | status | stop | delete) [ $# = 0 ] || fail "$command takes no arguments: $*" ;;
  help | --help | -h) usage; exit 0 ;;
  *) usage >&2; fail "there is no command $command" ;;
esac
need_slice
case $command in
  create | copy) "$command" ;;
  setup) copy && worker setup ;;
  run) worker start "$@" && follow ;;
  tail | stop) worker "$command" ;;
  status) [ -n "$hosts" ] || say "$name: $(state)"; report ;;
  delete) remove ;;
  until-done) until_done "$@" ;;
esac
