"""Train a character model on a text, take it back as an nn.Module, let it write, and hand its weights to torch."""

from pathlib import Path

from torch import nn

import retrograd as rg

text = Path("counting.txt")
text.write_text("".join(f"{n} and {n + 1} make {2 * n + 1}.\n" for n in range(400)))

config = rg.make_config({"data": {"train": [str(text)]}, "model": {"hidden": 64}, "training": {"steps": 150}})
result = rg.train(config)
print(f"{result.test.loss:.2f} nats per character after {result.steps} steps, in {result.run.path}")

print(rg.generate(result.run.path, prompt="7 and 8 make", length=40, seed=1))

model = rg.load(result.run.path)
plain = nn.LSTM(64, 64)
plain.load_state_dict(rg.to_torch(model))
