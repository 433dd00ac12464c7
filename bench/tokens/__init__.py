"""What a renewal costs the requests of its time, and how long the first token takes."""
