"""One of two processes that save together after the first has saved alone, and makes folders slowly. Not a test itself.

python saving_together.py INDEX PORT FOLDER
"""

import asyncio
import sys

import jax
from etils import epath
from flax import nnx
from orbax.checkpoint._src.path import async_path

from s3ft_jax import checkpoints, sharding
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.param_digests import params_digest
from s3ft_jax.processes import Processes, alone

CONFIG = DecoderConfig(16, 2, 8, 8, 2, 1, 4, 32, tie_embeddings=True)


def main(index: int, port: str, folder: epath.Path) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
    state = nnx.state(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    if index == 0:
        with alone():
            own = {"config": CONFIG, "lora": None, "step": 0, "provenance": {}}
            checkpoints.save(folder / "alone", trees={"trainable": state}, **own)
        make = async_path.mkdir

        async def slowly(*args, **kwargs):
            await asyncio.sleep(1.0)
            return await make(*args, **kwargs)

        async_path.mkdir = slowly
    params = sharding.shard_params(state, sharding.make_mesh(1, 2, 1))
    writer = checkpoints.open_writer()
    for step in range(3):
        checkpoints.begin(folder / str(step), {"trainable": params}, writer, Processes(index, 2))
        writer.wait_until_finished()
        found = checkpoints.restore_tree(folder / str(step), "trainable", params)
        assert params_digest(found) == params_digest(params)
    writer.close()
    print("whole")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], epath.Path(sys.argv[3]))
