"""What a person sees of a run: plan, progress, tables, files, pictures."""
