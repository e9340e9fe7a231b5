"""Jobs of a sweep on a Slurm cluster: how they start, heed signals, and are waited for."""
