"""Known accuracies of the architectures of a space."""

from diswot.accuracies.base import Benchmark, NoAccuraciesError, benchmark_of, standings

__all__ = ["Benchmark", "NoAccuraciesError", "benchmark_of", "standings"]
