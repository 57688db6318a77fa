"""Train recurrent networks and see, exactly, how far back in time their gradients reach."""
