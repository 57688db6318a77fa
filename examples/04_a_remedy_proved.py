"""A task that needs 30 steps of memory: the default LSTM, what is wrong with it, and the same after the remedy."""

import retrograd as rg

GAP = 30


def recall(init: str) -> None:
    result = rg.train(
        rg.make_config(
            {
                "task": {"name": "recall", "length": GAP},
                "model": {"hidden": 32, "init": init, "dropout": 0.0},
                "training": {"steps": 300, "batch": 32, "lr": 5e-3, "schedule": "constant"},
            }
        )
    )
    start = result.report.measurements["start"]
    print(f"{init}: horizon {start.horizon} at the start, {result.test.accuracy:.0%} right after {result.steps} steps")
    for finding in rg.judge(start.horizon, start.saturation, need=GAP):
        print(f"  at the start: {finding.message}")


recall("default")
recall("forget_bias=3.4")
