"""Colours by what they stand for, light and dark, told apart also by the colour-blind.

A page follows the reader's theme: its pictures are drawn in MARKERS, colours that nobody would choose, which `themed`
replaces by the style sheet's variables. A file for slides or print is drawn in LIGHT.
"""

import re

COLOURS = {  # on white and on nearly black
    "ink": ("#1b2027", "#e7eaee"),
    "muted": ("#59626e", "#a3adb8"),
    "rule": ("#e1e5ea", "#2d353e"),
    "paper": ("#ffffff", "#14181d"),
    "start": ("#8d96a1", "#87919d"),
    "end": ("#0a5ca8", "#62b0f5"),
    "other": ("#c2500a", "#f39a55"),
    "alarm": ("#a8005c", "#ff7ab8"),
}
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
DARK = {name: dark for name, (_, dark) in COLOURS.items()}
MARKERS = {name: f"#01fe{number:02x}" for number, name in enumerate(COLOURS)}

ZERO, UNDERFLOW, BROKEN = "#8f8f8f", "#d7a6c6", "#d1410c"  # in a heat map, which is the same in either theme
HEAT = "viridis"

_ROLES = {marker: name for name, marker in MARKERS.items()}


def themed(svg: str) -> str:
    """The picture with variables for the colours: var(--ink), var(--end) ..."""
    return re.sub(r"#01fe\w\w", lambda found: f"var(--{_ROLES[found[0]]})", svg)
