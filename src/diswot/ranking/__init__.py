"""How well proxies predict known accuracies: scores, correlations, statistics, shards."""
