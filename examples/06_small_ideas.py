"""Ideas as numbers and pictures: the scalar recurrence, eigenvalues, derivatives, paths, depth, optimizers."""

from pathlib import Path

import retrograd as rg
from retrograd.explore import write

for name, idea in rg.EXPLORATIONS.items():
    result = idea.explore()
    print(f"{idea.title}\n  {idea.say(result)}")
    write(idea, result, {"svg": Path(f"{name}.svg")}, force=True)  # also png, csv, and html: a page by itself

grows = rg.EXPLORATIONS["eigenvalues"]
print(grows.say(grows.explore(matrix=[[1.1, 0.3], [-0.3, 1.1]])))
