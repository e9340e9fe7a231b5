"""Search runs: what a search leaves of the student it chose."""
