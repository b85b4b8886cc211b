"""A Hugging Face model folder: read one from disk or from the hub, write one that transformers loads.

In: a folder or a hub id. Out: ``HFFolder``, the files that are there and what config.json says. No JAX and no
tokenizer: weights go through models/weights.py, token ids through prompts.py. Only safetensors weights are fetched,
never pickles.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from s3ft_jax import storage

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
)
_WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
_CONFIG, _GENERATION = "config.json", "generation_config.json"
_ALL = [_CONFIG, _GENERATION, *_WEIGHTS, *TOKENIZER_FILES, "additional_chat_templates/*"]
_SMALL = [pattern for pattern in _ALL if pattern not in _WEIGHTS]
_SIGN_IN = (
    "run `hf auth login`; where there is no terminal (the workers of a pod, a job), `export HF_TOKEN=...` in the shell "
    "that starts it, with a token of https://huggingface.co/settings/tokens that may read it"
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class HFFolderError(ValueError):
    """A model folder cannot be had or is not whole. The message names the folder or hub id, the cause and the fix."""


class HubUnreachable(HFFolderError):
    """A model is not on this disk, and the hub does not answer: nothing is known of it."""


@dataclasses.dataclass(frozen=True)
class HFFolder:
    """A model folder on this machine.

    Attributes:
      name: as the user gave it: a path or a hub id.
      path: where the files are.
      config: config.json, as it is.
      generation_config: generation_config.json, or empty.
      tokenizer_files: those of ``TOKENIZER_FILES`` that are there, and templates in additional_chat_templates/.
    """

    name: str
    path: Path
    config: dict[str, Any]
    generation_config: dict[str, Any]
    tokenizer_files: tuple[str, ...]

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """End tokens, of generation_config.json if it names any, else of config.json; may be empty."""
        for values in (self.generation_config, self.config):
            ids = values.get("eos_token_id")
            if ids is not None:
                return tuple(ids) if isinstance(ids, list) else (ids,)
        return ()


def read(model: str | os.PathLike, *, revision: str | None = None, weights: bool = True) -> HFFolder:
    """Find a model folder: on this machine if the path exists, else on the hub.

    Args:
      model: a folder, here or in a bucket, or a hub id such as ``HuggingFaceTB/SmolLM2-135M-Instruct``.
      revision: branch, tag or commit on the hub; refused for a local folder.
      weights: False fetches all but them, of a model that is not on this machine.

    Raises:
      HubUnreachable: it is not on this machine, and the hub does not answer.
      HFFolderError: not there, not allowed, or config.json, tokenizer or weights are missing.
    """
    name, wanted = str(model), _ALL if weights else _SMALL
    path = _fetched(name, wanted)
    if path.is_dir():
        if revision is not None:
            raise HFFolderError(f"{name}: a revision ({revision!r}) only makes sense for a hub id. Leave it out.")
    elif path.exists():
        raise HFFolderError(f"{name}: is a file. Give the folder that holds config.json and the weights.")
    elif not _HUB_ID.fullmatch(name):
        raise HFFolderError(f"{name}: no such folder, and not of the form OWNER/NAME of a hub id. Check the path.")
    else:
        path = _download(name, revision, wanted)
    config = _read_json(path / _CONFIG)
    generation = _read_json(path / _GENERATION) if (path / _GENERATION).exists() else {}
    tokenizer = tuple(file for file in TOKENIZER_FILES if (path / file).exists())
    tokenizer += tuple(f"additional_chat_templates/{p.name}" for p in sorted(path.glob("additional_chat_templates/*")))
    if not any(file in tokenizer for file in ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")):
        raise HFFolderError(
            f"{name}: no tokenizer (tokenizer.json or tokenizer.model) in {path}. Copy the files of the base model's "
            "tokenizer there, or save it with AutoTokenizer.from_pretrained(BASE).save_pretrained(FOLDER)."
        )
    return HFFolder(name, path, config, generation, tokenizer)


def read_architecture(model: str | os.PathLike) -> dict[str, Any]:
    """config.json alone, of a folder that may hold nothing else, of the file itself, or of a hub id.

    Raises:
      HubUnreachable: it is not on this machine, and the hub does not answer.
      HFFolderError: not there, not allowed, or not JSON.
    """
    name = str(model)
    path = _fetched(name)
    if not path.exists():
        if not _HUB_ID.fullmatch(name):
            raise HFFolderError(f"{name}: no such folder or file, and not of the form OWNER/NAME of a hub id.")
        path = _download(name, None, [_CONFIG])
    return _read_json(path / _CONFIG if path.is_dir() else path)


def _fetched(name: str, patterns: Sequence[str] = _ALL) -> Path:
    """Where a folder is on this machine, if it is one at all; of a bucket's, the copy that was fetched."""
    if not storage.is_remote(name):
        return Path(name).expanduser()
    try:
        return storage.fetch(name, list(patterns))
    except FileNotFoundError:
        raise HFFolderError(f"{name}: no such folder in the bucket. Check the path.") from None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HFFolderError(
            f"{file}: missing. A model folder needs config.json, safetensors weights and a tokenizer."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HFFolderError(f"{file}: not JSON ({error}). Fetch or copy it again.") from None
    if not isinstance(values, dict):
        raise HFFolderError(f"{file}: expected a JSON object, found {type(values).__name__}.")
    return values


def _download(name: str, revision: str | None, patterns: Sequence[str] = _ALL) -> Path:
    import huggingface_hub  # slow to import, and a local folder needs none of it
    from huggingface_hub import errors

    at, kind = f"{name} (revision {revision})" if revision else name, HFFolderError
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except errors.GatedRepoError:
        cause = f"is gated. Accept its terms on https://huggingface.co/{name}, then {_SIGN_IN}"
    except errors.RepositoryNotFoundError:
        cause = f"is no folder here and no model on the hub (or a private one). Check the name, or {_SIGN_IN}"
    except errors.RevisionNotFoundError:
        cause = "has no such revision on the hub. Check the branch, tag or commit"
    except (errors.HFValidationError, errors.HfHubHTTPError) as error:
        cause = f"cannot be fetched from the hub: {error}"
    except (errors.LocalEntryNotFoundError, OSError) as error:  # offline, no such host, connection cut
        kind, cause = (
            HubUnreachable,
            (
                f"is no folder here, is not in the cache, and the hub cannot be reached ({type(error).__name__}). "
                f"Download it where there is a network (hf download {name}) and give the folder's path"
            ),
        )
    raise kind(f"{at}: {cause}.")


def copy_tokenizer(source: HFFolder, target: str | os.PathLike) -> None:
    """Copy the tokenizer's files and chat templates, byte for byte, into ``target``, which is made if needed."""
    for file in source.tokenizer_files:
        (Path(target) / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / file, Path(target) / file)


def write_model(
    target: str | os.PathLike,
    source: HFFolder,
    *,
    write_weights: Callable[[Path], object],
    eos_ids: Sequence[int],
    model_card: str,
    replace: bool = False,
    adapter: bool = False,
) -> os.PathLike:
    """Write a model folder of the source's architecture and tokenizer with other weights; all of it or nothing.

    Args:
      target: the folder to make, here or in a bucket.
      source: config.json and the tokenizer's files are copied from it byte for byte.
      write_weights: called with the folder to write the safetensors files into (``weights.export``).
      eos_ids: end tokens, written to generation_config.json so that transformers stops where we do; the other
        settings there are the source's.
      model_card: text of README.md.
      replace: whether a folder of this name may be deleted.
      adapter: the weights are an adapter only; config.json, which stands for a whole model, is left out.

    Returns:
      The path of the folder.

    Raises:
      HFFolderError: the folder exists and ``replace`` is false, or it is the source itself.
    """
    there = epath.Path(target)
    if not storage.is_remote(there) and Path(there).resolve() == source.path.resolve():
        raise HFFolderError(f"{there}: this is the folder the model was read from. Choose another.")
    if there.exists() and not replace:
        raise HFFolderError(f"{there}: already there. Delete it or choose another folder.")
    values = {**source.generation_config, "eos_token_id": list(eos_ids)}
    for name in ("bos_token_id", "pad_token_id"):
        if name not in values and source.config.get(name) is not None:
            values[name] = source.config[name]
    with storage.local_output(there) as folder:
        folder.mkdir(parents=True)
        write_weights(folder)
        if not adapter:
            shutil.copyfile(source.path / _CONFIG, folder / _CONFIG)
        copy_tokenizer(source, folder)
        (folder / _GENERATION).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(model_card, encoding="utf-8")
    return there
