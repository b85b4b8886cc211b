"""fingerprints: every file below a folder, its bytes and sha256."""

import hashlib

from etils import epath

from s3ft_jax import fingerprints


def test_files_at_any_depth(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deep").write_bytes(b"12345")
    (tmp_path / "flat").write_bytes(b"")
    empty, deep = (hashlib.sha256(data).hexdigest() for data in (b"", b"12345"))
    assert fingerprints.of_folder(epath.Path(tmp_path)) == {"a/b/deep": [5, deep], "flat": [0, empty]}
    assert fingerprints.of_file(tmp_path / "flat") == empty
