"""How good is the result? Samples of a run against real faces, and morphs and children step by step."""
