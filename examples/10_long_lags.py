"""Patterns far apart: every long-range task, the lag that it needs, and how it goes by length. Latch is learned."""

import retrograd as rg


def trained(task: str, length: int, steps: int) -> None:
    result = rg.train(
        rg.make_config(
            {
                "task": {"name": task, "length": length},
                "model": {"hidden": 32, "init": f"chrono={length}"},
                "training": {"steps": steps, "batch": 32, "lr": 0.01},
            }
        )
    )
    report = result.report
    print(f"{task} needs {report.subject['need']} steps, horizon {report.measurements['end'].horizon} after {steps}")
    for heading, grid in report.grids.items():
        print(f"  {heading.lower()}: " + ", ".join(f"{row[0]}: {row[1]:.0%}" for row in grid.rows))


trained("latch", 10, 300)
for task in ("recall", "copying", "adding", "temporal-order"):
    trained(task, 20, 20)
