"""What comes out of a run: distributions, tables, charts, the JSON, and the machine that it was measured on."""
