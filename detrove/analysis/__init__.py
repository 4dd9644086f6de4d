"""Looking inside a detector: what its queries see, and what they are taught."""
