"""Where the lanes meet: train, measure, form an opinion, write the run folder."""
