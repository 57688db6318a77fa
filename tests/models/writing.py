"""What holds for every model that writes from a source: token by token is all at once."""

import torch


def assert_alike_by_steps(model, tokens, source):
    whole, end = model(tokens, source=source)
    logits, state = model(tokens[:1], source=source)
    steps = [logits]
    for t in range(1, len(tokens)):
        logits, state = model(tokens[t : t + 1], state)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps), whole, atol=1e-12, rtol=0)
    torch.testing.assert_close(state, end, atol=1e-12, rtol=0)
