"""Models of one text on the same tokens: counts, a fixed window and an LSTM, side by side."""

from pathlib import Path

import retrograd as rg

text = Path("places.txt")
things, places = ("key", "lamp", "cup", "hat"), ("door", "shelf", "window")
text.write_text(
    "".join(f"the {a} near the {b} by the {c} is here .\n" for a in things for b in things for c in places * 8)
)

shared = {
    "data": {"train": [str(text)], "level": "word"},
    "model": {"hidden": 32, "dropout": 0.0},
    "training": {"steps": 60, "window": 16, "batch": 4},
}
found = rg.compare(shared, ["ngram", "window", "lstm"], seeds=2, out="compared")
for model in found.standings:
    print(f"{model.model:8} {model.size:6,} {model.unit}, {found.figure.name} {model.test.value:.3g}")
print("\n".join(found.said))  # which of them these seeds tell apart; compared/comparison.html is the page
