"""Plans, results, plots and the report page of runs."""
