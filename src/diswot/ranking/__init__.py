"""How well proxies predict accuracies that are known already."""
