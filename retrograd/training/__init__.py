"""Training: the loop and what stands around a step. It receives objects and knows no task, model or measure."""
