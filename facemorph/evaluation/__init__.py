"""How good is what was made: samples of a run against the faces that it learnt from."""
