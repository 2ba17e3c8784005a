"""What operators ask about sessions: each module asks PostgreSQL one kind of question, and returns a struct.

The commands print these structs, and the HTTP API returns them. Times go in and come out with their zone. No query
reads a clock: "now" is the end of a period. Every method raises `StoreAway` if PostgreSQL cannot answer.
"""
