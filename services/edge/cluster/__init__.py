"""The other edges of the cluster: which are alive, questions to them, joins and leaves on them."""
