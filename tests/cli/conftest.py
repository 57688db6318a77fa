"""A folder with a finished run, the same run as a kill has left it ("stopped"), and some texts, good and bad."""

import shutil

import pytest

from retrograd.experiments import own_process
from tests.cli.damage import swapped

FILES = {
    "good.txt": b"some text that is long enough to be learned from, line after line\n" * 60,
    "empty.txt": b"",
    "one.txt": b"a" * 4000,
    "short.txt": b"too short",
    "latin.txt": b"caf\xe9 " * 500,
    "broken.toml": b"[model\n",
    "foreign.toml": b"[model]\nhiden = 3\n",
}


@pytest.fixture
def here(trained, text, tmp_path, monkeypatch):
    for name, raw in FILES.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "folder").mkdir()
    shutil.copy(text, tmp_path / "mat.txt")
    run = shutil.copytree(trained.run.path, tmp_path / "run")
    swapped(str(text), str(tmp_path / "mat.txt"))(run / "config.toml")
    (tmp_path / "run" / ".lock").touch()
    stopped = shutil.copytree(run, tmp_path / "stopped")
    events = (stopped / "events.jsonl").read_text().splitlines(keepends=True)
    (stopped / "events.jsonl").write_text("".join(line for line in events if '"finished"' not in line))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_process, "begin_own_process", lambda: None)  # it is for a process of its own
    return tmp_path
