"""Models side by side on the same data, with the same seeds and the same budget: `retrograd compare`."""
