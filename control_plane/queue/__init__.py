"""The lease queue. Redis lives here and nowhere else."""
