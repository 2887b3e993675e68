import pytest

from gpunn.sweep.journal import MendingLock, open_journal, remove_torn_line, turn

optuna = pytest.importorskip("optuna")


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"", b""),
        (b"one\n", b"one\n"),
        (b"one\ntw", b"one\n"),
        (b"tw", b""),
        (b"one\n" + 10_000 * b"x", b"one\n"),
        (9_999 * b"x" + b"\n" + 5_000 * b"y", 9_999 * b"x" + b"\n"),
    ],
)
def test_a_torn_line_is_removed(tmp_path, content, kept):
    path = tmp_path / "journal"
    path.write_bytes(content)
    remove_torn_line(path)
    assert path.read_bytes() == kept


def test_a_study_goes_on_after_a_torn_line(tmp_path):
    path = tmp_path / "study.jsonl"
    optuna.create_study(storage=open_journal(path), study_name="a").ask()
    with open(path, "ab") as file:
        file.write(b'{"op_code": 4, "wor')
    again = optuna.load_study(storage=open_journal(path), study_name="a")
    again.ask()
    other = optuna.load_study(storage=open_journal(path), study_name="a")
    assert [trial.number for trial in other.trials] == [0, 1]


def test_the_lock_of_a_relative_path_leads_to_the_file(tmp_path, monkeypatch):
    """Where it leads nowhere, who waits for it would never give up the lock of a killed process."""
    monkeypatch.chdir(tmp_path)
    found = []
    original = MendingLock.acquire

    def noted(self):
        original(self)
        found.append(self.path.with_name("study.jsonl.lock").resolve(strict=True))
        return True

    monkeypatch.setattr(MendingLock, "acquire", noted)
    optuna.create_study(storage=open_journal(tmp_path.relative_to(tmp_path) / "study.jsonl"))
    assert set(found) == {tmp_path / "study.jsonl"}


def test_a_turn_is_given_back(tmp_path):
    def fail():
        with turn(tmp_path):
            assert [path.name for path in tmp_path.iterdir()] == [".turn.lock"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())
