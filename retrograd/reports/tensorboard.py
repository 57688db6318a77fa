"""A run as TensorBoard shows it: one point a name and step, and texts beside them.

    with closing(Board("runs/first/tensorboard")) as board:
        board.add(100, loss=1.93, horizon=23, sample="the cat sat")        then: tensorboard --logdir runs/first

The event file is written with TensorBoard's own record format and messages and nothing else of it: its writer would
load TensorFlow wherever that is installed.
"""

import os
import socket
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from retrograd.errors import MissingExtra


def require() -> None:
    """Raises MissingExtra where TensorBoard is not installed."""
    _library("summary.writer.record_writer")


class Board:
    """An event file in a folder, which is made where it is missing; every call of `add` is on disk when it returns.

    Raises MissingExtra where TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        RecordWriter = _library("summary.writer.record_writer").RecordWriter
        Path(folder).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter(open(Path(folder) / name, "xb"))  # noqa: SIM115  `close` closes it
        self._write(file_version="brain.Event:2")

    def add(self, step: int, /, **values: float | str | None) -> None:
        """The value of each name after so many steps: a number is a point of a curve (single precision), a str a text.

        NaN and infinities are written as such; None, what was not measured, is left out. A name with a space goes in
        as `**{"gradient norm": 0.3}`.
        """
        Value = _library("compat.proto.summary_pb2").Summary.Value
        measured = {name: x for name, x in values.items() if x is not None}
        self._write(step=step, summary={"value": [Value(tag=name, **_value(x)) for name, x in measured.items()]})

    def back(self, step: int) -> None:
        """Training goes on from `step`: TensorBoard drops what this and earlier files hold of later ones."""
        self._write(step=step + 1, session_log={"status": "START"})

    def close(self) -> None:
        self._records.close()

    def _write(self, **contents: Any) -> None:
        event = _library("compat.proto.event_pb2").Event(wall_time=time.time(), **contents)
        self._records.write(event.SerializeToString())
        self._records.flush()


def _value(x: float | str) -> dict[str, Any]:
    if not isinstance(x, str):
        return {"simple_value": x}
    lines = "\n".join(f"    {line}" for line in x.split("\n"))  # Markdown shows as it stands what is indented by four
    return {
        "metadata": {"plugin_data": {"plugin_name": "text"}},
        "tensor": {"dtype": "DT_STRING", "string_val": [lines.encode(errors="replace")]},
    }


def _library(module: str) -> Any:
    try:
        return import_module(f"tensorboard.{module}")
    except ImportError:
        raise MissingExtra("Writing TensorBoard files", "tensorboard") from None
