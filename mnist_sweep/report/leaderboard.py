"""`from mnist_sweep.report.leaderboard import leaderboard`: where docs/results.md promises it."""

from mnist_sweep.report.analysis.leaderboard import leaderboard

__all__ = ["leaderboard"]
