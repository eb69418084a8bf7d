"""The best architectures within hard limits: best, top-k, frontier, and why limits conflict."""
