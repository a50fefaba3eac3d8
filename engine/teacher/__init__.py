"""Asking a teacher for rewrites: jobs, streams, batches, budget and forecast."""
