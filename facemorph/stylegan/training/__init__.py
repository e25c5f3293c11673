"""How a generator is made: faces, judges, one step, the loop, and the run folder."""
