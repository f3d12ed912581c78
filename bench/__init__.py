"""Benchmarks of Gorgo beside its peers. Start with README.md; the machinery is in harness.py."""
