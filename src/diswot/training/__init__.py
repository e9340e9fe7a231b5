"""Training a student, with teachers or alone, through Lightning."""
