"""The report of a search: leaderboard, figures, Markdown and HTML."""
