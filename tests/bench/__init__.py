"""`make bench`: what the ledger costs, as ratios to ceilings measured in the same run (python -m tests.bench)."""
