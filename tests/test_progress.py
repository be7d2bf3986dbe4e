"""Progress of commands: lines in a file, estimates, shares of what is under way."""

from __future__ import annotations

import sys
import time

import pytest
from rich.progress import Progress

from mirrorflow.runs import progress
from mirrorflow.runs.progress import Board, note


@pytest.fixture
def _fast(monkeypatch):
    monkeypatch.setattr(progress, "POLL", 0.01)
    monkeypatch.setattr(progress, "FIRST", 0.02)


@pytest.mark.usefixtures("_fast")
def test_a_file_gets_lines_while_nothing_ends(tmp_path, capsys):
    folder, said = tmp_path / "notes", ""
    with Board(9, 2, folder):
        note(folder, "k", "pilot seed 0", 3, 30, "loss 1")
        note(folder, "damaged", "x", 1, 1, "")
        (folder / "damaged").write_text("[")
        while "runs" not in said:
            time.sleep(0.01)
            said += capsys.readouterr().err
    said += capsys.readouterr().err
    first, last = said.splitlines()
    assert first.startswith("runs 2/9, 0:00:00")
    assert "pilot seed 0 3/30" in last
    assert not folder.exists()


def test_nothing_is_said_of_a_command_that_was_stopped(capsys):
    with pytest.raises(KeyboardInterrupt), Board(9, 2):
        raise KeyboardInterrupt
    with Board(9, 2, visible=False):
        pass
    assert capsys.readouterr().err == ""


def words(board: Board) -> str:
    return board._words()


def test_the_estimate_is_not_from_the_first_result(monkeypatch):
    """Of 90 runs, 30 in 30 s and 30 in 10 s: what is left takes 20 s, less what has passed."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    board = Board(100, 10)
    clock[0] += 30.0
    assert words(board) == "0:00:30, no result yet"
    board.finish("a", 30)
    assert words(board) == "0:00:30"
    clock[0] += 10.0
    board.finish("b", 30)
    assert words(board) == "0:00:40, about 0:00:20 left"
    clock[0] += 8.0
    assert words(board) == "0:00:48, about 0:00:12 left, 0:00:08 since the last result"
    clock[0] += 60.0
    assert "about 0:00:00 left, 0:01:08 since" in words(board)
    board.finish("c", 29)
    clock[0] += 6.0
    assert words(board).endswith(" left, 0:00:06 since the last result")  # one run is left
    board.finish("d")
    clock[0] += 6.0
    assert words(board) == "0:02:00"


def test_runs_under_way_count_by_their_share(tmp_path, monkeypatch):
    """Two runs of 10 epochs, one of which went on after the fifth."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    board = Board(2, 0, tmp_path)
    clock[0] += 10.0
    for key, epoch in (("a", 1), ("b", 6)):
        note(tmp_path, key, key, epoch, 10, "")
        board._read(key)
    # two epochs in 10 s; 9 + 4 are left
    assert words(board) == "0:00:10, about 0:01:05 left"
    clock[0] += 40.0
    note(tmp_path, "b", "b", 10, 10, "")
    board.finish("b")
    assert words(board) == "0:00:50, about 0:01:15 left"  # six epochs in 50 s; nine are left


def test_a_late_note_brings_no_line_back(tmp_path):
    board = Board(2, 0, tmp_path)
    note(tmp_path, "a", "a", 10, 10, "")
    board.finish("a")
    board._read("a")
    assert [task.description for task in board._progress.tasks] == ["runs"]
    assert isinstance(board._progress, Progress)


def test_a_terminal_shows_what_is_under_way_and_nothing_goes_to_standard_output(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with Board(2, 0, tmp_path / "notes") as board:
        note(tmp_path / "notes", "k", "pilot seed 0", 3, 30, "loss 1.25")
        with board._lock:
            board._read("k")
        board._progress.refresh()
        board.finish("k")
        board.finish("a run that left no note")
    output, errors = capsys.readouterr()
    assert output == ""
    assert "loss 1.25" in errors
    assert "2/2" in errors


@pytest.mark.usefixtures("_fast")
def test_a_command_without_notes_gets_its_lines_too(capsys):
    errors, end = "", time.monotonic() + 60.0
    with Board(9, 2):
        while "runs" not in errors and time.monotonic() < end:
            time.sleep(0.01)
            errors += capsys.readouterr().err
    assert errors.startswith("runs 2/9")
