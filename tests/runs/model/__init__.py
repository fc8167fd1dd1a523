"""A model of the engine in memory, and the rules by which Hypothesis tells stories to both.

`known` is what the model remembers, `floor` compares it with the database after each step;
`people`, `workers` and `clocks` hold the rules: what each of them may do at any time.
"""
