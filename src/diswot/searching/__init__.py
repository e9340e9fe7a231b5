"""Search runs: the loop, its history, the similarities of the student it chose."""
