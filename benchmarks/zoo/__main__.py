"""rg.diagnose on every model of the zoo, untouched, and how far it is from the truth.

    python -m benchmarks.zoo [--small] [NAME ...]

`differs` is the loss of the record, in float64, against the model's own; `off` is the reach against brute force,
relative, recorded on the model in float32 and in float64. A model that cannot be seen shows its sentence.
"""

import sys
import time
from typing import Any

import torch

import retrograd as rg
from benchmarks import results
from benchmarks.zoo import ENTRIES, LARGE, SMALL, Size
from benchmarks.zoo.check import OtherLayers, check, made, recorded
from benchmarks.zoo.oracle import seed
from retrograd.errors import RetrogradError

EXACT = 1e-9  # in float64
LONG = 1e-4  # in float32 over 100 steps, where batch norm and loops of the model itself add up


def main() -> None:
    words = sys.argv[1:]
    size = SMALL if "--small" in words else LARGE
    names = [word for word in words if word != "--small"] or list(ENTRIES)
    table = {}
    for name in names:
        table[name] = examined(name, size)
        print(row(name, table[name]), flush=True)
    good = sum(figures["as expected"] for figures in table.values())
    print(f"{good} of {len(table)} as expected")
    if len(table) == len(ENTRIES):
        results.write("zoo", steps=size.steps, batch=size.batch, hidden=size.hidden, as_expected=good, models=table)


def examined(name: str, size: Size) -> dict[str, Any]:
    """The figures of one model, or what was raised."""
    entry, (model, loss) = ENTRIES[name], made(name, size)
    seed()
    begin = time.perf_counter()
    try:
        report = rg.diagnose(model, loss)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        refused = isinstance(error, RetrogradError) and entry.refused is not None and entry.refused in said
        return {"ok": False, "said": said, "as expected": refused, "seconds": time.perf_counter() - begin}
    seconds = time.perf_counter() - begin
    figures = {"ok": True, "horizon": report.horizon.display, "seconds": seconds, "differs": differs(name, size)}
    if entry.refused is not None:
        return figures | {"as expected": False, "said": f"expected a sentence with {entry.refused!r}"}
    try:
        off = {str(dtype).removeprefix("torch."): check(name, size, dtype) for dtype in (torch.float32, torch.float64)}
    except (RetrogradError, OtherLayers) as error:
        return figures | {"as expected": False, "said": str(error)}
    tolerance = entry.tolerance if size == SMALL else max(entry.tolerance, LONG)
    expected = off["float32"] <= tolerance and off["float64"] <= EXACT
    return figures | {"off": off, "tolerance": tolerance, "as expected": expected}


def differs(name: str, size: Size) -> float:
    """The largest difference between a loss of the record and the model's own, relative to the largest loss."""
    model, loss = made(name, size)
    model = getattr(model, "_orig_mod", model)
    seed()
    with torch.no_grad():
        own = loss(model).double()
    return float((recorded(name, size).losses.detach().double() - own).abs().max() / own.abs().max())


def row(name: str, figures: dict[str, Any]) -> str:
    mark = "as expected" if figures["as expected"] else "NOT EXPECTED"
    start = f"{name:22}{mark:14}{figures['seconds']:6.1f} s"
    if not figures["ok"]:
        return f"{start}   {figures['said']}"
    off = "".join(f"   {dtype} off {worst:.0e}" for dtype, worst in figures.get("off", {}).items())
    differs = f"   loss differs {figures['differs']:.0e}"
    return f"{start}   horizon {figures['horizon']:5}{differs}{off}   {figures.get('said', '')}".rstrip()


if __name__ == "__main__":
    main()
