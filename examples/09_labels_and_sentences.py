"""Many to one, a label for each step, many to many, one to many: one trainer, here at sizes that take seconds."""

from pathlib import Path
from typing import Any

import retrograd as rg
from retrograd.tasks.captioning import captioned, write

SENTENCE = "boring for 15 minutes, but then terribly exciting"
TRAINING = {"steps": 60, "batch": 32, "lr": 0.01}


def trained(task: dict[str, Any], model: dict[str, Any], training: dict[str, Any]) -> Path:
    result = rg.train(rg.make_config({"task": {"examples": 400, **task}, "model": model, "training": training}))
    print(f"{task['name']}: {result.test.accuracy:.0%} of {result.test.tokens:,} right after {result.steps} steps")
    return result.run.path


run = trained({"name": "sentiment"}, {"hidden": 32}, TRAINING)
print([found.label for found in rg.label(run, [SENTENCE])[0]])

run = trained({"name": "tagging"}, {"hidden": 32, "bidirectional": True}, TRAINING)
print([(word.text, word.label) for word in rg.label(run, ["Teddy Roosevelt was a president"])[0]])

run = trained({"name": "translation"}, {"hidden": 32}, TRAINING)
print(rg.translate(run, ["14 march 1952"], beam=4))

shapes = {"name": "captioning", "held_out": 40}
run = trained(shapes, {"hidden": 32}, TRAINING)
write("pictures", captioned(rg.make_config({"task": {**shapes, "examples": 1}}))[2][:2])
print(rg.caption(run, sorted(Path("pictures").glob("*.png"))))

try:
    run = trained({"name": "sentiment"}, {"kind": "naive-bayes"}, {})
    print([found.label for found in rg.label(run, [SENTENCE])[0]])
except rg.RetrogradError as error:  # it needs scikit-learn
    print(error)
