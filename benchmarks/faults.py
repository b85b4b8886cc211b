"""Faults over the small quickstart in two processes: each ends in exact resumption or an error that names the cause.

    python -m benchmarks.faults --count=200

Walk after walk, two on this disk and one in a bucket by turns (tests/object_store.py, late and failing: ``BUCKETS``):
the recipe is begun (``RECIPE`` of walks.py: rounds, scores while it trains, a checkpoint a step), a fault strikes at
a random moment, both processes end, the same command goes on; and so on until a walk is finished, and is compared with
one that nothing happened to. What the faults are: ``FAULTS``. A line for each is kept in runs/faults/faults.jsonl;
killed and run again, the count goes on.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator

from benchmarks.walks import ROOT, Broken, Run, Walk

BUCKETS = ((0.0, 0), (0.5, 0), (0.5, 20), (1.0, 20))
"""Seconds until listings show a change, and of how many calls one fails (0: none); drawn anew for each walk."""
ENDS = (1, 75, -signal.SIGKILL, -signal.SIGTERM)
"""Exit codes there may be but 0: an error, "start again", killed, and told to stop before it could listen."""
FOLDERS = ("examples", "responses", "verdicts", "selections", "rounds", "checkpoints", "scores", "base", "manifests")
TIMED = ("report", "manifests/", "checkpoint.json", "metrics.jsonl", "costs.csv", "drift/", "/arrays/", "config.json")


def kill(walk: Walk, run: Run, draw: random.Random) -> None:
    """One process is killed: a machine dies."""
    draw.choice(run.processes).kill()


def kill_both(walk: Walk, run: Run, draw: random.Random) -> None:
    """Both are killed: the power fails."""
    for process in run.processes:
        process.kill()


def preempt(walk: Walk, run: Run, draw: random.Random) -> None:
    """One is told that its machine will be taken."""
    draw.choice(run.processes).send_signal(signal.SIGTERM)


def freeze(walk: Walk, run: Run, draw: random.Random) -> None:
    """One stands still for a while."""
    process = draw.choice(run.processes)
    process.send_signal(signal.SIGSTOP)
    time.sleep(draw.uniform(2, 12))
    process.send_signal(signal.SIGCONT)


def outage(walk: Walk, run: Run, draw: random.Random) -> None:
    """The bucket fails every call, for shorter or longer than is waited for it."""
    fail(walk, 1, run, draw.choice((5, 10, 40)))


def flaky(walk: Walk, run: Run, draw: random.Random) -> None:
    """The bucket fails one call in ten for a while, before or after it has done what was asked."""
    fail(walk, 10, run, 20)


def fail(walk: Walk, every: int, run: Run, seconds: float) -> None:
    """One call in so many fails for so long."""
    usual, walk.store.fail_every = walk.store.fail_every, every
    run.wait(seconds)
    walk.store.fail_every = usual


def twice(walk: Walk, run: Run, draw: random.Random) -> None:
    """The same command is started a second time, on the same workdir: one of the two is refused, or both do all.

    Raises:
      Broken: as ``Run.end``.
    """
    codes, said = walk.start().end()
    if codes != [0, 0] and not any("error:" in one for one in said):
        raise Broken(f"of a second command, {codes}, no cause is named:\n" + "\n".join(said))


def damage(walk: Walk, run: Run, draw: random.Random) -> None:
    """The power fails, and a file has other bytes, or fewer, afterwards."""
    kill_both(walk, run, draw)
    run.wait(10)
    found = [path for path in sorted(walk.local.rglob("*")) if path.is_file() and path.stat().st_size]
    found = [path for path in found if path.relative_to(walk.local).parts[0] in (*FOLDERS, "cache")]
    if not found:
        return
    folder = draw.choice(sorted({path.relative_to(walk.local).parts[0] for path in found}))
    path = draw.choice([path for path in found if path.relative_to(walk.local).parts[0] == folder])
    data = bytearray(path.read_bytes())
    place = draw.randrange(len(data))
    if draw.random() < 0.5:
        data = data[:place]
    else:
        data[place] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))
    walk.damaged = str(path.relative_to(walk.local))


def skew(walk: Walk, run: Run, draw: random.Random) -> None:
    """The second machine's clock is a day off from its start; then one is killed."""
    kill(walk, run, draw)


FAULTS: dict[str, Callable[[Walk, Run, random.Random], None]] = {
    one.__name__: one for one in (kill, kill_both, preempt, freeze, twice, damage, skew, outage, flaky)
}
IN_BUCKET, ON_DISK = ("kill", "kill_both", "preempt", "freeze", "twice", "outage", "flaky"), tuple(FAULTS)[:7]


def follow(walk: Walk, said: str) -> list[str]:
    """Do what an error about damage says: remove the file or folder, and its stage's manifest. Returns what went."""
    gone = []
    for line in said.splitlines():
        path = re.match(r"error: (\S+?): ", line)
        if not path or "remove" not in line.lower():
            continue
        targets = [
            pathlib.Path(path[1]),
            *(pathlib.Path(one) for one in re.findall(r"remove it and (\S+\.json)", line)),
        ]
        if "remove this folder" in line.lower():
            inside = targets[0].relative_to(walk.local).parts
            stage = "import" if inside[0] == "base" else "train-" + "-".join(inside[1:3])
            targets.append(walk.local / "manifests" / f"{stage}.json")
        for target in targets:
            gone.append(target.name)
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    return gone


def compare(reference: dict[str, bytes], walk: Walk) -> None:
    """All that is determined is as in the walk that nothing happened to.

    Raises:
      Broken: names what differs.
    """
    found = walk.files()
    same = [name for name in reference if not any(part in name for part in TIMED)]
    wrong = [name for name in same if found.get(name) != reference[name] and name != walk.damaged]  # not read again
    extra = [name for name in found if name not in reference and not any(part in name for part in (*TIMED, ".damaged"))]
    for name in reference:
        if name.endswith("/checkpoint.json"):
            digests = [json.loads(files.get(name, b"{}")).get("params_digest") for files in (found, reference)]
            wrong += [f"{name}: {digests}"] if digests[0] != digests[1] else []
    if wrong or extra:
        raise Broken(f"other bytes: {wrong}; not there before: {extra}")


def strike(walk: Walk, draw: random.Random, full_s: float, num_stages: int) -> Iterator[dict]:
    """Faults until the walk is finished; yields the facts of each.

    Raises:
      Broken: a promise was not kept.
    """
    while True:
        kind = draw.choice(IN_BUCKET if walk.store else ON_DISK)
        before = walk.done()
        left = full_s * (2.0 if walk.store else 1.0) * (1.0 - len(before) / num_stages) + 8.0
        when = draw.uniform(0.5, 0.6 * left)
        run = walk.start(draw.choice((-86400.0, 86400.0)) if kind == "skew" else 0.0)
        struck = not run.wait(when)
        if struck:
            FAULTS[kind](walk, run, draw)
        codes, said = run.end()
        facts = {"kind": kind, "where": "bucket" if walk.store else "disk", "when": round(when, 1), "codes": codes}
        facts |= {
            "seconds": round(time.monotonic() - run.began - when, 1),
            "damaged": walk.damaged if kind == "damage" else "",
        }
        errors = [line for one in said for line in one.splitlines() if line.startswith("error:")]
        if any(code not in (0, *ENDS) for code in codes) or (any(set(codes) - {0, -signal.SIGKILL}) and not errors):
            raise Broken(f"{facts}: no cause is named:\n" + "\n".join(said))
        lost = before - walk.done()
        if lost and walk.damaged not in {f"manifests/{one}" for one in lost}:
            raise Broken(f"{facts}: {lost} were done")
        if struck:
            yield facts | {
                "errors": errors,
                "warnings": [w for one in said for w in re.findall("warning: .*", one)][:5],
            }
        if kind == "damage" and struck:
            yield from mend(walk)
        if codes == [0, 0]:
            return
        if not struck:
            raise Broken(f"{facts}: ended by itself:\n" + "\n".join(said))


def mend(walk: Walk) -> Iterator[dict]:
    """After damage the command says what is wrong, or goes on without what was damaged; what it says is done."""
    for _ in range(4):
        codes, said = walk.start().end()
        if codes == [0, 0]:
            return
        errors = [line for one in said for line in one.splitlines() if line.startswith("error:")]
        gone = follow(walk, "\n".join(said))
        yield {"kind": "mend", "damaged": walk.damaged, "codes": codes, "errors": errors, "removed": gone}
        if not gone:
            raise Broken(f"damage of {walk.damaged} is not named in a way that helps:\n" + "\n".join(said))
    raise Broken(f"damage of {walk.damaged}: what is said does not help")


def main() -> None:
    """Count faults until there are enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = ROOT / "runs" / "faults"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "faults.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    shutil.rmtree(folder / "walk-0", ignore_errors=True)
    reference_walk = Walk(folder, 0, None)
    reference_walk.start().end()  # compiles
    shutil.rmtree(folder / "walk-0")
    run = reference_walk.start()
    codes, said = run.end()
    full_s = time.monotonic() - run.began
    if codes != [0, 0]:
        raise Broken("the walk without faults:\n" + "\n".join(said))
    reference, num_stages = reference_walk.files(), len(reference_walk.done())
    print(f"without faults: {full_s:.0f} s, {num_stages} stages", flush=True)
    number = 1 + max((row["walk"] for row in rows), default=0)
    while sum(row["kind"] not in ("mend", "broken") for row in rows) < arguments.count:
        shutil.rmtree(folder / f"walk-{number}", ignore_errors=True)
        draw = random.Random(arguments.seed + number)
        bucket = draw.choice(BUCKETS) if number % 3 == 0 else None
        with Walk(folder, number, bucket) as walk:
            found: list[dict] = []
            try:
                for facts in strike(walk, draw, full_s, num_stages):
                    found.append(facts | {"walk": number, "bucket": bucket})
                    print(json.dumps(found[-1]), flush=True)
                compare(reference, walk)
            except Broken as broken:
                print(f"BROKEN in walk {number}: {broken}", flush=True)
                found.append({"kind": "broken", "walk": number, "why": str(broken)})
                walk.keep()
        rows += found
        with log.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
        if not found or found[-1]["kind"] != "broken":
            shutil.rmtree(folder / f"walk-{number}", ignore_errors=True)
        number += 1
    table(rows)


def table(rows: list[dict]) -> None:
    """Counts by kind, how long both took to end, and how often a person had to do what an error said."""
    print("| fault | where | times | seconds until both had ended, median, most |\n| --- | --- | --- | --- |")
    groups = collections.defaultdict(list)
    for row in rows:
        if row["kind"] not in ("mend", "broken"):
            groups[row["kind"], row["where"]].append(row["seconds"])
    for (kind, where), seconds in sorted(groups.items()):
        print(f"| {kind} | {where} | {len(seconds)} | {sorted(seconds)[len(seconds) // 2]:.0f}, {max(seconds):.0f} |")
    mended, broken = (sum(row["kind"] == kind for row in rows) for kind in ("mend", "broken"))
    print(f"{len({row['walk'] for row in rows})} walks; {mended} errors told what to remove; {broken} broken promises")


if __name__ == "__main__":
    main()
