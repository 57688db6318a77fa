"""What is written is what TensorBoard's own reader reads back."""

import math
import subprocess
import sys
from contextlib import closing

import pytest

from retrograd.errors import MissingExtra
from retrograd.reports.tensorboard import Board


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


@pytest.mark.extra
def test_numbers_are_read_back_by_name_and_step(tmp_path):
    with closing(Board(tmp_path / "runs" / "one")) as board:
        board.add(10, loss=2.5, horizon=23)
        board.add(20, **{"loss": 1.25, "gradient norm": 0.5})
    events = read(tmp_path / "runs" / "one")
    points = {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert points == {"loss": [(10, 2.5), (20, 1.25)], "horizon": [(10, 23.0)], "gradient norm": [(20, 0.5)]}


@pytest.mark.extra
def test_nan_and_infinities_are_data(tmp_path):
    with closing(Board(tmp_path)) as board:
        for step, loss in enumerate([math.nan, math.inf, -math.inf]):
            board.add(step, loss=loss)
    assert repr([e.value for e in read(tmp_path).Scalars("loss")]) == "[nan, inf, -inf]"


@pytest.mark.extra
def test_what_was_not_measured_has_no_point(tmp_path):
    with closing(Board(tmp_path)) as board:
        board.add(1, horizon=23, low=None, beyond=True)
    events = read(tmp_path)
    assert sorted(events.Tags()["scalars"]) == ["beyond", "horizon"]
    assert events.Scalars("beyond")[0].value == 1
    [file] = tmp_path.iterdir()
    assert b"low" not in file.read_bytes()


@pytest.mark.extra
def test_a_text_is_read_back_indented_so_that_it_is_not_markdown(tmp_path):
    with closing(Board(tmp_path)) as board:
        board.add(3, sample="# é *so*\n\n- far\ud800", loss=1.0)
    events = read(tmp_path)
    [event] = events.Tensors("sample")
    assert event.step == 3
    assert event.tensor_proto.string_val[0].decode() == "    # é *so*\n    \n    - far?"
    assert events.SummaryMetadata("sample").plugin_data.plugin_name == "text"
    assert events.Tags()["scalars"] == ["loss"]


@pytest.mark.extra
def test_a_point_can_be_read_while_the_file_is_still_open(tmp_path):
    with closing(Board(tmp_path)) as board:
        board.add(1, loss=1.0)
        assert len(read(tmp_path).Scalars("loss")) == 1


@pytest.mark.extra
def test_a_second_board_in_a_folder_goes_on_in_a_file_of_its_own(tmp_path):
    for step in (1, 2):
        with closing(Board(tmp_path)) as board:
            board.add(step, loss=float(step))
    assert len(list(tmp_path.iterdir())) == 2
    assert [e.step for e in read(tmp_path).Scalars("loss")] == [1, 2]


@pytest.mark.extra
@pytest.mark.parametrize("reopened", [False, True])
def test_a_run_that_went_back_takes_its_later_steps_back(tmp_path, reopened):
    board = Board(tmp_path)
    for step in (1, 2, 3):
        board.add(step, loss=1.0)
    if reopened:
        board.close()
        board = Board(tmp_path)
    board.back(1)
    board.add(2, loss=5.0)
    board.close()
    assert [(e.step, e.value) for e in read(tmp_path).Scalars("loss")] == [(1, 1.0), (2, 5.0)]


@pytest.mark.extra
def test_it_is_silent_and_does_not_load_tensorflow(tmp_path):
    """A tensorflow that ends the process is put first on the path."""
    fake = tmp_path / "path" / "tensorflow"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise SystemExit('tensorflow was loaded')")
    code = f"""import sys; sys.path.insert(0, {str(fake.parent)!r})
from retrograd.reports.tensorboard import Board
board = Board({str(tmp_path / "out")!r})
board.add(1, loss=1.0, sample='a')
board.close()"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_tensorboard_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    for name in ["tensorboard", *(name for name in sys.modules if name.startswith("tensorboard."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"Writing TensorBoard files needs .*pip install 'retrograd\[tensorboard\]'"):
        Board(tmp_path / "out")
    assert not (tmp_path / "out").exists()
