"""The results of a run: distributions, tables, charts, JSON, and the machine that was measured."""
