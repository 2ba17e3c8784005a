"""Proof. Laid out like the code it proves; what needs real servers is marked `integration`."""
