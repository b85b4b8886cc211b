"""seals: whole text opens, any other does not."""

import json

import pytest

from s3ft_jax.seals import KEY, Damaged, opened, sealed

VALUES = {"settings": {"a": (1, 2.5, None), "b": "ä"}, "inputs": {}}


def test_what_was_sealed_opens():
    assert opened(sealed(VALUES), "x") == json.loads(json.dumps(VALUES))
    assert sealed(opened(sealed(VALUES), "x")) == sealed(VALUES)


def test_every_other_bit_is_found():
    whole = sealed(VALUES)
    for place in range(len(whole)):
        for bit in (0, 3, 6):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            try:
                found = opened(bytes(data), "x")
            except Damaged as error:
                assert str(error).startswith("x: damaged: ")
            else:  # white space, and the seal's own name, without which it is as one of old
                assert found == opened(whole, "x") or KEY not in json.loads(data)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b"\xff\xfe", sealed(VALUES)[:-9]])
def test_what_is_cut_or_no_object_is_damaged(data):
    with pytest.raises(Damaged, match="x: damaged"):
        opened(data, "x")


def test_one_from_before_there_were_seals_is_taken_as_it_is():
    assert opened(b'{"a": 1}', "x") == {"a": 1}
