"""What a request with a key costs, beside other filters that set a header."""
