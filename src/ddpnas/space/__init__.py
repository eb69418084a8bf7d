"""What a network may be: decisions and rules, the function that asks, and the supernet."""
