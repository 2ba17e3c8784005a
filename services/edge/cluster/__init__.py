"""The other edges: which there are, what they are asked, who joins and leaves on them."""
