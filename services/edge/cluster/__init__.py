"""The other edges of the cluster: which are alive, requests to them, joins and leaves on them."""
