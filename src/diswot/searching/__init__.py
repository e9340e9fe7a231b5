"""The search loop and its history."""
