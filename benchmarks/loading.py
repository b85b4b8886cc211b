"""How much host memory loading takes, and how long, against copying the files' bytes.

    python -m benchmarks.loading --config CONFIG.json [--layers 8] [--shards 4] [--folder FOLDER]

Writes a random bfloat16 checkpoint of the config's shape in several files (kept if --folder is given), then, each in a
process of its own, turn about: copies every byte of the files to memory; loads them with ``weights.load``; copies the
files to another folder; imports them, which is loading and writing a checkpoint with its digest. Prints seconds (best
and median of --repeat) and their ratios, the peak of anonymous memory above what the process had before loading, the
bytes of the parameters, the largest tensor, and (peak - parameters) / largest tensor.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np


def anonymous_bytes() -> int:
    """Anonymous resident memory of this process, in bytes; pages of mapped files are not counted (Linux)."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon; this benchmark needs Linux")


class Peak:
    """The largest ``anonymous_bytes`` while it runs, looked at every 2 ms."""

    def __enter__(self) -> Peak:
        self.start = self.highest = anonymous_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.highest = max(self.highest, anonymous_bytes())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.highest = max(self.highest, anonymous_bytes())

    @property
    def above(self) -> int:
        """Bytes above the start."""
        return self.highest - self.start


def read_values(config: str, layers: int) -> dict:
    """config.json with another number of layers."""
    values = json.loads(pathlib.Path(config).read_text())
    return values | ({"num_hidden_layers": layers} if layers else {})


def write_checkpoint(values: dict, folder: pathlib.Path, shards: int) -> None:
    """Random bfloat16 tensors under their Hugging Face names, in ``shards`` files and an index."""
    import ml_dtypes
    from safetensors.numpy import save_file

    from s3ft_jax.models import families, weights

    config, weight_map = families.read_config(values)
    shapes = weights.flat_params(weights.abstract_params(config))
    tensors = {
        row.tensor_name(place): row.tensor_shape(shapes[row.path].shape[row.leading :])
        for row in weight_map.rows
        for place in np.ndindex(*shapes[row.path].shape[: row.leading])
    }
    rng, names, places = np.random.default_rng(0), sorted(tensors), {}
    for number in range(shards):
        own = names[number::shards]
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        made = {name: rng.integers(0, 2**15, tensors[name], np.uint16).view(ml_dtypes.bfloat16) for name in own}
        save_file(made, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(own, file)
    (folder / weights.INDEX_NAME).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "config.json").write_text(json.dumps(values))


def copy_bytes(folder: pathlib.Path) -> dict[str, float]:
    """Every byte of the files into one array as large as they are."""
    files = sorted(folder.glob("*.safetensors"))
    with Peak() as peak:
        start = time.perf_counter()
        kept = np.empty(sum(file.stat().st_size for file in files), np.uint8)
        place = 0
        for file in files:
            with file.open("rb", buffering=0) as handle:
                view = memoryview(kept)[place : place + file.stat().st_size]
                done = 0
                while done < len(view):
                    done += handle.readinto(view[done : done + 2**28])
                place += done
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": peak.above, "kept": kept.nbytes}


def copy_files(folder: pathlib.Path) -> dict[str, float]:
    """The files into another folder beside this one, and on to the disk, as TensorStore does below Orbax."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as target:
        start = time.perf_counter()
        for file in folder.iterdir():
            copy = shutil.copyfile(file, pathlib.Path(target) / file.name)
            with copy.open("rb") as handle:
                os.fsync(handle.fileno())
        return {"seconds": time.perf_counter() - start}


def load(folder: pathlib.Path, *, then_save: bool = False) -> dict[str, float]:
    """``weights.load`` on the default device; and, as ``s3ft import`` does, the checkpoint beside the folder."""
    import jax
    from etils import epath

    from s3ft_jax import checkpoints
    from s3ft_jax.allocator import keep_freed_memory
    from s3ft_jax.models import families, weights

    keep_freed_memory()
    jax.block_until_ready(jax.numpy.zeros(8) + 1)
    config, weight_map = families.read_config(json.loads((folder / "config.json").read_text()))
    with Peak() as peak:
        start = time.perf_counter()
        params = jax.block_until_ready(weights.load(folder, config, weight_map))
        if then_save:
            with tempfile.TemporaryDirectory(dir=folder.parent) as target:
                target = epath.Path(target) / "base"
                checkpoints.save(target, trees={"trainable": params}, config=config, lora=None, step=0, provenance={})
                seconds = time.perf_counter() - start
        else:
            seconds = time.perf_counter() - start
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return {"seconds": seconds, "peak": peak.above, "kept": kept}


def largest_tensor(folder: pathlib.Path) -> int:
    """Bytes of the largest tensor of the files."""
    from safetensors import safe_open

    largest = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="np") as handle:
            largest = max(largest, *(2 * int(np.prod(handle.get_slice(n).get_shape())) for n in sorted(handle.keys())))
    return largest


MEASURED = {
    "copying to memory": copy_bytes,
    "loading": load,
    "copying the files": copy_files,
    "importing": functools.partial(load, then_save=True),
}


def compare(folder: pathlib.Path, repeat: int) -> None:
    """All in processes of their own, turn about, and what came out."""
    results: dict[str, list[dict[str, float]]] = {what: [] for what in MEASURED}
    for _ in range(repeat):
        for what, found in results.items():
            command = [sys.executable, "-m", "benchmarks.loading", "--folder", str(folder), "--only", what]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            print(what, found[-1], file=sys.stderr)
    seconds = {what: [one["seconds"] for one in found] for what, found in results.items()}
    for what, times in seconds.items():
        print(f"{what}: {min(times):.1f} s at best, {statistics.median(times):.1f} s in the median of {repeat}")
    for copied, ours in (("copying to memory", "loading"), ("copying the files", "importing")):
        ratios = [pick(seconds[ours]) / pick(seconds[copied]) for pick in (min, statistics.median)]
        print(f"{ours} / {copied}: {ratios[0]:.2f} at best, {ratios[1]:.2f} in the median")
    peak, kept = max(one["peak"] for one in results["loading"]), results["loading"][0]["kept"]
    largest = largest_tensor(folder)
    print(f"parameters {kept / 2**30:.2f} GiB, largest tensor {largest / 2**20:.0f} MiB")
    print(f"peak {peak / 2**30:.2f} GiB; (peak - parameters) / largest tensor = {(peak - kept) / largest:.2f}")


def main() -> None:
    """Write if needed, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="", help="config.json whose shape is written")
    parser.add_argument("--layers", type=int, default=0, help="in place of the config's own")
    parser.add_argument("--shards", type=int, default=4, help="files")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", default="", help="a checkpoint written before, or where to write it")
    parser.add_argument("--only", choices=list(MEASURED), default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(MEASURED[arguments.only](pathlib.Path(arguments.folder))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(arguments.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "config.json").exists():
            write_checkpoint(read_values(arguments.config, arguments.layers), folder, arguments.shards)
        compare(folder, arguments.repeat)


if __name__ == "__main__":
    main()
