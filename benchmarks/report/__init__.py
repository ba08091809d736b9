"""Pages, charts and tables of what was measured."""
