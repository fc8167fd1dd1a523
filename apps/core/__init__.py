"""What every app may use and nothing of ours below it: clock, ids, errors, facts, SQL, crypto."""
