"""Published methods that serve as baselines of a comparison, in reduced form."""
