"""What a signature costs: alone, and with a body that has to be hashed."""
