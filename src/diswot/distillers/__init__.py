"""Distillation losses over the outputs of a student and its teacher; lower is better, always."""
