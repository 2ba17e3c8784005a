"""The read models, one module each: how a fact changes its rows. Pure. `projection` applies them all in one pass.

`sessions` decides what a session is; the others count and list what it decided, and never influence it.
"""
