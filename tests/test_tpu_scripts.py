"""tpu_scripts, run against stand-ins of gcloud, ssh, scp and uv: a "worker" is a home folder on this machine."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parents[1] / "tpu_scripts"
LIMIT_S = 60

GCLOUD = """
echo "gcloud $*" >>"$STUB/calls"
[ "$1" = compute ] || exit 64
group=$3 verb=$4 node=$5 command= place=
for word in "$@"; do case $word in --command=*) command=${word#--command=} ;; esac; done
case "$group $verb" in
  "queued-resources describe") [ -s "$STUB/states" ] || exit 1
    head -1 "$STUB/states"
    [ "$(wc -l <"$STUB/states")" = 1 ] || sed -i 1d "$STUB/states" ;;
  "queued-resources create") printf 'WAITING_FOR_RESOURCES\\nPROVISIONING\\nACTIVE\\n' >"$STUB/states" ;;
  "queued-resources delete") rm -rf "$STUB/states" "$STUB"/home-* ;;
  "tpu-vm ssh") exec on_workers "$node" "$command" ;;
  "tpu-vm scp") for k in $STUB_WORKERS; do
      home=$STUB/home-${6%%:*}-w-$k; mkdir -p "$home"; cp "$node" "$home/${6##*:}"
    done ;;
  *) exit 64 ;;
esac
"""
ON_WORKERS = """
failed=0
for k in $STUB_WORKERS; do
  home=$STUB/home-$1-w-$k; mkdir -p "$home"
  (cd "$home" && HOME=$home STUB_HOST=t1v-n-0-w-$k bash -c "$2") & running="$running $!"
done
for pid in $running; do wait $pid || failed=$?; done
exit $failed
"""
SSH = """
echo "ssh $*" >>"$STUB/calls"
home=$STUB/home-$1; mkdir -p "$home"; cd "$home"; HOME=$home STUB_HOST=$1 exec bash -c "$2"
"""
SCP = """
echo "scp $*" >>"$STUB/calls"
home=$STUB/home-${2%%:*}; mkdir -p "$home"; cp "$1" "$home/${2##*:}"
"""
UV = """
echo "uv $*" >>"$STUB/calls"
[ "$1" = venv ] || exit 0
mkdir -p .venv/bin
for name in python s3ft; do printf '#!/bin/sh\\necho Python 3.11\\n' >.venv/bin/$name; chmod +x .venv/bin/$name; done
"""
STUBS = {"gcloud": GCLOUD, "on_workers": ON_WORKERS, "ssh": SSH, "scp": SCP, "uv": UV, "hostname": 'echo "$STUB_HOST"'}
STUBS |= {name: f'echo "{name} $*" >>"$STUB/calls"\nexit $STUB_CODE' for name in ("xpk", "srun", "scontrol")}


class Cloud:
    """Stand-ins in a folder that comes first in PATH."""

    def __init__(self, folder, workers="0 1"):
        self.folder = folder
        for name, text in STUBS.items():
            (folder / name).write_text(f"#!/usr/bin/env bash\n{text}")
            (folder / name).chmod(0o755)
        self.environment = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "HOME": str(folder),
            "STUB": str(folder),
            "STUB_WORKERS": workers,
            "POD_ENV": "/dev/null",
            "POD_ZONE": "us-west4-a",
            "POD_POLL_S": "0.2",
            "POD_ATTEMPTS": "3",
        }

    def pod(self, *arguments, **options):
        """What pod.sh prints."""
        return self.run("pod.sh", *arguments, **options)

    def run(self, script, *arguments, code=0, **environment):
        """What a script prints."""
        done = subprocess.run(
            [str(SCRIPTS / script), *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def calls(self):
        """Calls of programs, without looks at the state."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if " describe " not in line]

    def home(self, node="s3ft", worker=0):
        return self.folder / f"home-{node}-w-{worker}"


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


def job(text):
    """A command that runs this on every worker."""
    return ["bash", "-c", text]


def test_the_scripts_are_clean():
    shellcheck = shutil.which("shellcheck", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    assert shellcheck, "pip install -e '.[test]' brings it"
    scripts = [*SCRIPTS.glob("*.sh"), *(SCRIPTS.parent / name for name in ("quickstart.sh", "tests/run.sh"))]
    done = subprocess.run([shellcheck, *map(str, scripts)], capture_output=True, text=True)
    assert len(scripts) >= 7 and done.returncode == 0, done.stdout


def test_from_nothing_to_a_command_that_ran_on_all_workers(cloud):
    assert "PROVISIONING" in cloud.pod("create")
    said = cloud.pod("setup")
    assert "s3ft w-0 set up: Python 3.11" in said and "s3ft w-1 set up: Python 3.11" in said
    assert (cloud.home(worker=1) / "s3ft_jax" / "setup.py").is_file()
    assert not (cloud.home() / "s3ft_jax" / ".git").exists()
    said = cloud.pod("run", *job('echo "$1 on $(hostname)"; echo done'), "it's", "two  words", POD_BUCKET="gs://b")
    for worker in (0, 1):
        assert f"[s3ft w-{worker}] two  words on t1v-n-0-w-{worker}\n" in said
        assert f"[s3ft w-{worker}] done\n" in said and f"[s3ft w-{worker}] ended with code 0\n" in said
    assert "s3ft w-1 ended 0" in cloud.pod("status")
    cloud.pod("delete")
    kinds = [" ".join(line.split()[3:5]) for line in cloud.calls if line.startswith("gcloud")]
    assert kinds[:4] == ["queued-resources create", "tpu-vm scp", "tpu-vm ssh", "tpu-vm ssh"]
    assert kinds[-1] == "queued-resources delete" and not cloud.home().exists()
    (install,) = {line for line in cloud.calls if line.startswith("uv pip")}
    assert "--constraint tpu_scripts/constraints.txt" in install and "gcs,eval" in install


def test_what_is_asked_for(cloud):
    said = cloud.pod("--dry-run", "create", POD_TYPE="v6e-16", POD_SLICES="2", POD_SPOT="0", POD_PROJECT="mine")
    (line,) = (line for line in said.splitlines() if " create " in line)
    assert line == (
        "+ gcloud compute tpus queued-resources create s3ft --accelerator-type=v6e-16 "
        "--runtime-version=v2-alpha-tpuv6e --node-count=2 --node-prefix=s3ft --zone=us-west4-a --project=mine"
    )
    runtimes = {"v4-8": "tpu-ubuntu2204-base", "v5litepod-8": "v2-alpha-tpuv5-lite", "v5p-8": "v2-alpha-tpuv5"}
    for kind, runtime in runtimes.items():
        assert f"--runtime-version={runtime} --node-id=s3ft --spot" in cloud.pod("--dry-run", "create", POD_TYPE=kind)
    assert "for another one give POD_RUNTIME" in cloud.pod("create", code=2, POD_TYPE="v9-8")
    assert "POD_ZONE is not set" in cloud.pod("create", code=2, POD_ZONE="")
    assert "say what to run" in cloud.pod("run", code=2)
    assert "there is no command destroy" in cloud.pod("destroy", code=2)
    assert not (cloud.folder / "calls").exists()


def test_a_dry_run_calls_nothing_and_shows_no_secret(cloud):
    said = cloud.pod(
        "--dry-run", "until-done", "s3ft", "run", "--config.x=(1, 2)", HF_TOKEN="geheim", POD_BUCKET="gs://b"
    )
    verbs = re.findall(r"^\+ gcloud compute tpus \S+ (\w+)", said, re.MULTILINE)
    assert [verb for verb in verbs if verb != "describe"] == ["create", "scp", *["ssh"] * 5]
    assert "worker.sh start s3ft run '\\''--config.x=(1, 2)'\\''" in said
    assert "HF_TOKEN=..." in said and "geheim" not in said and not (cloud.folder / "calls").exists()


def test_several_slices_are_reached_at_once(cloud):
    both = {"POD_SLICES": "2"}
    cloud.pod("create", **both)
    cloud.pod("setup", **both)
    said = cloud.pod("run", *job("hostname; echo $S3FT_PORT"), **both, POD_PORT="8482")
    assert "[s3ft-1 w-1] 8482" in said
    assert {f"[s3ft-{node} w-{worker}]" for node in (0, 1) for worker in (0, 1)} <= set(re.findall(r"\[.*?\]", said))


def test_machines_of_ones_own_are_told_who_belongs_together(cloud):
    own = {"POD_HOSTS": "me@gpu-0 gpu-1", "POD_ZONE": ""}
    said = cloud.pod("setup", **own)
    assert "gpu-1 set up" in said
    text = 'echo "$S3FT_COORDINATOR $S3FT_PROCESS of $S3FT_NUM_PROCESSES"'
    said = cloud.pod("run", *job(text), **own, POD_PORT="8482")
    assert "[me@gpu-0] gpu-0:8482 0 of 2" in said and "[gpu-1] gpu-0:8482 1 of 2" in said
    assert not any(line.startswith("gcloud") for line in cloud.calls)


def test_the_code_of_a_worker_is_the_code_of_the_run(cloud):
    cloud.pod("setup")
    assert "s3ft w-1 ended 3" in cloud.pod("run", *job("[ $(hostname) = t1v-n-0-w-0 ] || exit 3"), code=3)


def test_a_second_command_waits_until_the_first_is_stopped(cloud):
    cloud.pod("setup")
    script = str(SCRIPTS / "worker.sh")
    text = "trap 'echo saved; exit 75' TERM; echo begun; while :; do sleep 0.1; done"
    home = cloud.home()
    environment = cloud.environment | {"HOME": str(home), "STUB_HOST": "t1v-n-0-w-0", "POD_NODE": "s3ft"}

    def worker(*arguments):
        done = subprocess.run([script, *arguments], env=environment, capture_output=True, text=True, timeout=LIMIT_S)
        return done.returncode, done.stdout + done.stderr

    assert worker("status") == (0, "s3ft w-0 idle\n")
    assert worker("start", *job(text)) == (0, "")
    assert worker("status") == (0, "s3ft w-0 running\n")
    code, said = worker("start", "true")
    assert code == 1 and "is running; worker.sh stop ends it" in said
    assert worker("stop") == (0, "s3ft w-0 stopped\n")
    code, said = worker("tail")
    assert code == 0 and said.startswith("[s3ft w-0] begun\n")
    assert said.endswith("[s3ft w-0] saved\n[s3ft w-0] ended with code 75\n")
    assert worker("stop") == (0, "s3ft w-0: nothing is running\n")
    assert worker("mumble")[0] == 2


@pytest.mark.parametrize("end", ["exit 75", "echo SUSPENDED >$STUB/states; kill -9 $$"])
def test_until_done_goes_on_after_a_preemption(cloud, end):
    """Once asked to stop; once taken away, and asked for anew."""
    text = f"echo x >>$STUB/starts; [ $(wc -l <$STUB/starts) -gt 1 ] || {{ {end}; }}; sleep 0.5; echo well"
    cloud.environment["STUB_WORKERS"] = "0"
    said = cloud.pod("until-done", *job(text))
    assert "attempt 1 of 3 ended with code" in said and "[s3ft w-0] well" in said
    assert "done, at attempt 2" in said
    asked = [line for line in cloud.calls if " create " in line]
    assert len(asked) == (1 if end == "exit 75" else 2)


def test_until_done_stops_at_what_another_start_would_not_mend(cloud):
    said = cloud.pod("until-done", *job("echo x >>$STUB/starts; echo error: no such file; exit 2"), code=2)
    assert "which another start would not mend" in said and "[s3ft w-1] error: no such file" in said
    assert (cloud.folder / "starts").read_text() == "x\nx\n"


def test_until_done_gives_up_in_the_end(cloud):
    said = cloud.pod("until-done", *job("exit 75"), code=75)
    assert "given up after 3 attempts" in said
    assert len([line for line in cloud.calls if "worker.sh setup" in line]) == 1, "set up once"


def test_a_slice_that_the_cloud_does_not_give(cloud):
    text = (cloud.folder / "gcloud").read_text()
    text = text.replace("WAITING_FOR_RESOURCES\\nPROVISIONING\\nACTIVE", "FAILED")
    (cloud.folder / "gcloud").write_text(text)
    assert "the cloud does not give s3ft: FAILED" in cloud.pod("create", code=1)


def test_the_examples_for_slurm_and_gke(cloud):
    slurm = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(cloud.folder), "STUB_CODE": "75"}
    cloud.run("slurm.sh", "--workdir=/shared/run", code=75, **slurm)
    assert cloud.calls == [
        "srun --kill-on-bad-exit=0 .venv/bin/s3ft run --workdir=/shared/run",
        "scontrol requeue 7",
    ]
    cloud.run("slurm.sh", code=2, **slurm | {"STUB_CODE": "2"})
    assert len(cloud.calls) == 3, "an error is not started again"
    cloud.run("gke.sh", "mine", "gs://b", "--config.train.seeds=(0, 1)", STUB_CODE="0", S3FT_SLICES="2")
    last = (cloud.folder / "calls").read_text().partition("xpk ")[2]
    assert "--num-slices=2" in last and "--restart-on-exit-codes=75" in last
    assert "JAX_COMPILATION_CACHE_DIR=gs://b/programs s3ft run --config.train.seeds=\\(0\\,\\ 1\\)" in last


def test_the_recipe_by_stages_is_of_the_methods_and_seeds_its_report_is_of(cloud):
    text = 'echo "s3ft $*" >>"$STUB/calls"'
    (cloud.folder / "s3ft").write_text(f"#!/bin/sh\n{text}\n")
    (cloud.folder / "s3ft").chmod(0o755)
    cloud.run("run_s3ft.sh", "c.py", "w", "sft", "s3ft", "--config.train.num_steps=4", SEEDS="0 1")
    settings = "--config=c.py --workdir=w --config.train.num_steps=4 --config.methods=sft,s3ft --config.train.seeds=0,1"
    assert all(call.endswith(settings) for call in cloud.calls)
    asked = [call.removesuffix(settings).removeprefix("s3ft ").strip() for call in cloud.calls]
    of_each = [f"{stage} {{}} --seed={seed}" for seed in (0, 1) for stage in ("train", "evaluate")]
    trained = [one.format(method) for method in ("sft", "s3ft") for one in ("select {}", *of_each)]
    assert asked[-len(trained) - 2 :] == ["evaluate base", *trained, "report"]


def test_settings_of_workers_reach_them_and_an_unedited_file_is_refused(cloud):
    said = cloud.pod("--dry-run", "setup", POD_EXTRAS="tpu,math", POD_PYTHON="3.12")
    assert "POD_EXTRAS=tpu,math POD_PYTHON=3.12" in said
    said = cloud.pod("create", code=2, POD_BUCKET="gs://BUCKET")
    assert "POD_BUCKET is still the example's: edit tpu_scripts/pod.env" in said
