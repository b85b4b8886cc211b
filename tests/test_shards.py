"""shards: files that survive a kill, shared out among processes."""

import threading

import pytest

from s3ft_jax.processes import Processes, alone
from s3ft_jax.records import Verdict
from s3ft_jax.shards import Shards, read_shards
from s3ft_jax.workdir import MissingStage, Workdir, WorkdirError


def verdict(number: int) -> Verdict:
    return Verdict(f"t/train/{number}", "own", 0, "exact", "right", "x", "right")


class Maker:
    """Two verdicts a shard, the last shard first; remembers which were asked for."""

    def __init__(self):
        self.made = []

    def __call__(self, numbers, take):
        self.made.append(list(numbers))
        for place in reversed(range(len(numbers))):
            take(place, [verdict(2 * numbers[place]), verdict(2 * numbers[place] + 1)])


def test_shards_already_there_are_kept_and_a_cut_one_is_made_again(tmp_path):
    workdir, make = Workdir(tmp_path), Maker()
    first = Shards(workdir, Verdict, "verdicts/own", 3).all(make)
    assert first == [verdict(n) for n in range(6)]
    cut = tmp_path / "verdicts/own-00001-of-00003.jsonl"
    cut.write_text(cut.read_text()[:-10])
    again = Shards(workdir, Verdict, "verdicts/own", 3)
    assert again.missing == [1] and again.own == [0, 1, 2]
    assert again.all(make) == first and make.made == [[0, 1, 2], [1]]
    assert read_shards(workdir, Verdict, "verdicts/own") == first


def test_what_is_finished_is_kept_when_the_rest_fails(tmp_path):
    workdir = Workdir(tmp_path)

    def fail(numbers, take):
        take(2, [verdict(4), verdict(5)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Shards(workdir, Verdict, "own", 3).all(fail)
    assert Shards(workdir, Verdict, "own", 3).missing == [0, 1]
    assert Shards(workdir, Verdict, "own", 3).all(Maker()) == [verdict(n) for n in range(6)]


def test_a_shard_with_other_bytes_is_made_again_though_it_can_be_read(tmp_path):
    workdir, make = Workdir(tmp_path), Maker()
    with pytest.raises(KeyboardInterrupt), workdir.stage("sample", settings={}, writes=["own-*-of-*.jsonl"]):
        Shards(workdir, Verdict, "own", 3).all(make)
        raise KeyboardInterrupt
    path = tmp_path / "own-00001-of-00003.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"x"', b'"y"'))
    with Workdir(tmp_path).stage("sample", settings={}, writes=["own-*-of-*.jsonl"]):
        assert Shards(Workdir(tmp_path), Verdict, "own", 3).all(make) == [verdict(n) for n in range(6)]
    assert make.made == [[0, 1, 2], [1]]


def test_seals_stand_beside_shards_until_the_stage_is_done(tmp_path):
    workdir = Workdir(tmp_path)
    with workdir.stage("sample", settings={}, writes=["own-*-of-*.jsonl"]):
        Shards(workdir, Verdict, "own", 2).all(Maker())
        assert (tmp_path / ".own-00001-of-00002.jsonl.sha256").exists()
    assert not list(tmp_path.glob(".*")) and len(workdir.manifest("sample")["outputs"]) == 2


def test_a_seal_that_is_no_text_is_a_broken_one(tmp_path):
    workdir, make = Workdir(tmp_path), Maker()
    with pytest.raises(KeyboardInterrupt), workdir.stage("sample", settings={}, writes=["own-*-of-*.jsonl"]):
        Shards(workdir, Verdict, "own", 2).all(make)
        raise KeyboardInterrupt
    (tmp_path / ".own-00001-of-00002.jsonl.sha256").write_bytes(b"\xe6\xff")
    assert Shards(Workdir(tmp_path), Verdict, "own", 2).missing == [1]


def test_bytes_that_are_no_text_are_made_again(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.write_records("own-00000-of-00001.jsonl", [verdict(0)])  # without a seal, as of an older version
    path = tmp_path / "own-00000-of-00001.jsonl"
    path.write_bytes(path.read_bytes()[:10] + b"\xff" + path.read_bytes()[11:])
    assert Shards(workdir, Verdict, "own", 1).all(Maker()) == [verdict(0), verdict(1)]


def test_a_shard_of_another_process_that_a_network_shows_late_is_waited_for(tmp_path):
    first, second = (Shards(Workdir(tmp_path, Processes(i, 2)), Verdict, "own", 2) for i in (0, 1))
    later = threading.Timer(0.5, lambda: second.write(second.names[1], [verdict(2), verdict(3)]))
    later.start()
    assert first.all(Maker()) == [verdict(n) for n in range(4)]
    later.join()


def test_which_are_missing_of_those_all_make_together_the_first_process_says(tmp_path, monkeypatch):
    """Else one would ask the model for other texts than the others."""
    for told, there in (([1], [0]), ([1], [0, 1])):
        folder = tmp_path / str(len(there))
        second, make = Shards(Workdir(folder, Processes(1, 2)), Verdict, "own", 2, together=True), Maker()
        for shard in there:
            second.write(second.names[shard], [verdict(2 * shard), verdict(2 * shard + 1)])
        monkeypatch.setattr(Processes, "first", lambda self, value, name, told=told: told)
        assert second.all(make) == [verdict(n) for n in range(4)] and make.made == [[1]]
    late = Shards(Workdir(tmp_path / "late", Processes(1, 2)), Verdict, "own", 1, together=True)
    monkeypatch.setattr(Processes, "first", lambda self, value, name: [])
    later = threading.Timer(0.3, lambda: late.write(late.names[0], [verdict(0)]))
    later.start()
    assert late.all(Maker()) == [verdict(0)], "seen late, not made again"
    later.join()


def test_shards_that_do_not_belong_together_and_one_that_is_gone_are_named(tmp_path):
    workdir = Workdir(tmp_path)
    for number in (2, 3):
        made = Shards(workdir, Verdict, f"of-{number}", number).all(Maker())
        assert read_shards(workdir, Verdict, f"of-{number}") == made
    (tmp_path / "of-3-00001-of-00003.jsonl").unlink()
    with pytest.raises(MissingStage, match=r"of-3-00001-of-00003\.jsonl is not there"):
        read_shards(workdir, Verdict, "of-3")
    (tmp_path / "of-2-00000-of-00003.jsonl").write_bytes(b"")
    with pytest.raises(WorkdirError, match=r"of-2: shards of two runs, .*00000-of-00002.* and .*00001-of-00002"):
        read_shards(workdir, Verdict, "of-2")
    assert read_shards(workdir, Verdict, "none") == []


def test_shards_are_shared_out_by_number():
    def own(index, count, **options):
        return Shards(Workdir("unused", Processes(index, count)), Verdict, "own", 5, **options).own

    assert (own(0, 2), own(1, 2)) == ([0, 2, 4], [1, 3])
    assert own(1, 2, together=True) == own(0, 1) == [0, 1, 2, 3, 4]
    assert own(7, 8) == []
    with alone():
        assert own(0, 2) == [0, 1, 2, 3, 4]
