"""What strangers can do at a search's door, and what a worker may write."""

import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from mnist_sweep.errors import UserError
from mnist_sweep.paths import INVITATION
from mnist_sweep.search.engines import door as door_module
from mnist_sweep.search.engines.carrying import (
    MOST_BYTES,
    PIECE_BYTES,
    CarryError,
    Gone,
    Piece,
    Receiver,
    Sender,
)
from mnist_sweep.search.engines.door import Door, Invitation


class Hall:
    """Who has been let in says what he heard first."""

    def __init__(self, sweep_dir: Path, *, is_local: bool = True) -> None:
        self.inside: list[Connection] = []
        self.door = Door(sweep_dir, self.inside.append, is_local=is_local)

    def dial(self) -> Connection:
        return Invitation.read(self.door.path).dial()

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.inside) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hall]:
    monkeypatch.setattr(door_module, "HANDSHAKE_S", 2.0)
    monkeypatch.setattr(door_module, "MOST_CALLERS", 8)
    hall = Hall(tmp_path)
    yield hall
    hall.door.close()


def call(hall: Hall) -> socket.socket:
    return socket.create_connection(("127.0.0.1", hall.door.invitation.port), timeout=60)


def is_hung_up(end: socket.socket) -> bool:
    """Whether all that is still said there comes to an end."""
    try:
        while end.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def test_who_says_nothing_or_little_or_much_is_hung_up_on(hall: Hall) -> None:
    silent, slow, huge, wrong = (call(hall) for _ in range(4))
    slow.sendall(b"\0")
    huge.sendall(b"\x7f\xff\xff\xff")  # a message of 2 GB
    evil = pickle.dumps(os.getcwd)
    wrong.sendall(len(evil).to_bytes(4, "big") + evil)
    for end in (silent, slow, huge, wrong):
        assert is_hung_up(end)
    assert not hall.inside
    hall.dial().close()
    hall.wait_for(1)


def test_many_callers_keep_nobody_with_the_key_out(hall: Hall) -> None:
    before = threading.active_count()
    strangers = [call(hall) for _ in range(40)]
    line = hall.dial()
    hall.wait_for(1)
    assert threading.active_count() - before <= 2 * 8
    line.send("a word")
    assert hall.inside[0].recv() == "a word"
    assert all(map(is_hung_up, strangers))


def test_a_message_that_breaks_off_holds_nobody_up(hall: Hall) -> None:
    line = hall.dial()
    hall.wait_for(1)
    os.write(line.fileno(), b"\0\0\1\0half")
    assert hall.inside[0].poll(30)
    with pytest.raises(OSError):
        hall.inside[0].recv()


def test_a_stranger_at_the_address_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "HANDSHAKE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OSError):
        Invitation(("127.0.0.1",), silent.getsockname()[1], "key").dial()


def test_workers_of_this_machine_are_waited_for_there_alone(tmp_path: Path) -> None:
    for is_local, address in ((True, "127.0.0.1"), (False, "0.0.0.0")):
        door = Door(tmp_path, lambda line: None, is_local=is_local)
        assert door.listener.getsockname()[0] == address
        assert (door.invitation.hosts == ("127.0.0.1",)) == is_local
        door.close()


def test_an_invitation_that_was_copied_is_good_for_the_next_search_there(tmp_path: Path) -> None:
    killed = Door(tmp_path, lambda line: None, is_local=True)
    copy = Invitation.read(killed.path)
    killed.is_closed = True  # as a kill does it, which leaves the file
    killed.listener.shutdown(socket.SHUT_RDWR)
    killed.listener.close()
    again = Hall(tmp_path)
    copy.dial()
    again.wait_for(1)
    beside = Door(tmp_path, lambda line: None, is_local=True)  # another controller
    assert beside.invitation.port != copy.port and beside.invitation.key == copy.key
    again.door.close()
    assert beside.path.exists(), "it is the other one's"
    beside.close()
    assert not beside.path.exists()
    beside.path.write_text(str(copy))
    beside.path.chmod(0o644)  # somebody may know the key
    anew = Door(tmp_path, lambda line: None, is_local=True)
    assert anew.invitation.key != copy.key
    assert anew.path.stat().st_mode & 0o777 == 0o600
    anew.close()


def test_another_directory_of_the_same_name_is_not_taken_for_the_searchs(tmp_path: Path) -> None:
    door = Door(tmp_path, lambda line: None, is_local=True)
    assert door.invitation.lies_in(tmp_path)
    other = tmp_path / "other"
    assert not door.invitation.lies_in(other)
    (other / INVITATION.parent).mkdir(parents=True)
    (other / INVITATION).write_text(str(Invitation(("a",), 1, "another key")))
    assert not door.invitation.lies_in(other)
    door.close()
    with pytest.raises(UserError, match="no search that workers can join"):
        Invitation.read(door.path)


def test_a_folder_arrives_as_it_is_and_then_what_changes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "3" / "in").mkdir(parents=True)
    (here / "4").mkdir()
    large = os.urandom(2 * PIECE_BYTES + 7)
    for name, content in {"3/a": b"one", "3/in/b": large, "3/none": b"", "4/no": b"no"}.items():
        (here / name).write_bytes(content)
    sender, receiver = Sender(here, "3"), Receiver(there, "3")

    def carry() -> int:
        changes = list(sender.changes())
        for change in changes:
            receiver.take(change)
        return len(changes)

    assert carry() == 1 + 3 + 1
    assert (there / "3" / "in" / "b").read_bytes() == large
    assert not (there / "4").exists() and (there / "3" / "none").read_bytes() == b""
    assert carry() == 0
    (here / "3" / "a").write_bytes(b"another")
    (here / "3" / "in" / "b").unlink()
    assert carry() == 2
    assert (there / "3" / "a").read_bytes() == b"another"
    assert not (there / "3" / "in" / "b").exists()
    assert not list(there.rglob(".*")), "no half file is left"


def test_a_transfer_that_was_broken_off_begins_again(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, "3")
    receiver.take(Piece("3/a", 0, b"old", is_last=False))
    receiver.take(Piece("3/a", 0, b"new", is_last=False))
    assert not (tmp_path / "3" / "a").exists()
    receiver.take(Piece("3/a", 3, b"er", is_last=True))
    assert (tmp_path / "3" / "a").read_bytes() == b"newer"


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "3/../../evil", "/tmp/evil", "4/a", "3", "3/", "", ".", "3//a", "3/./a"),
        *("3/link/evil", "3/leads_out", "3/pipe", "3/folder", "3/\0", "3/a\nb", "3/" + "a" * 300),
        "3/" + "a/" * 600,
    ],
)
def test_a_worker_writes_nowhere_but_in_its_runs_directory(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    sweep_dir = tmp_path / "sweep"
    (sweep_dir / "3" / "folder").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("theirs")
    (sweep_dir / "3" / "link").symlink_to(outside)
    (sweep_dir / "3" / "leads_out").symlink_to(outside / "file")
    os.mkfifo(sweep_dir / "3" / "pipe")
    before = sorted(tmp_path.rglob("*"))
    receiver = Receiver(sweep_dir, "3")
    for message in (Piece(name, 0, b"evil", is_last=True), Gone(name)):
        with pytest.raises(CarryError):
            receiver.take(message)
    assert sorted(tmp_path.rglob("*")) == before
    assert (outside / "file").read_text() == "theirs"


def test_pieces_that_do_not_fit_or_never_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CarryError, match="do not fit"):
        Receiver(tmp_path, "3").take(Piece("3/a", 5, b"middle", is_last=False))
    assert MOST_BYTES >= 1 << 30
    monkeypatch.setattr("mnist_sweep.search.engines.carrying.MOST_BYTES", 10)
    receiver = Receiver(tmp_path, "3")
    receiver.take(Piece("3/a", 0, b"123456", is_last=False))
    with pytest.raises(CarryError, match="more than a run leaves"):
        receiver.take(Piece("3/a", 6, b"123456", is_last=False))


def test_what_another_controller_has_written_meanwhile_stays(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, "3")
    receiver.take(Piece("3/result.json", 0, b"mine", is_last=True))
    receiver.take(Piece("3/result.json", 0, b"again", is_last=True))
    (tmp_path / "3" / "result.json").write_text("theirs")
    receiver.take(Piece("3/result.json", 0, b"late", is_last=True))
    receiver.take(Gone("3/result.json"))
    assert (tmp_path / "3" / "result.json").read_text() == "theirs"
