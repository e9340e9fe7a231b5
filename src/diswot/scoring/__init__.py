"""From an architecture to its score: parameters, mini-batch, cost, budget, forward pass."""
