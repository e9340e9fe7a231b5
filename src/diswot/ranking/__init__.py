"""Rankings of proxies by known accuracies: scores, correlations, statistics, shards."""
