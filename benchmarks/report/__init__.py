"""Results as tables, pages and pictures, and the comparison of two runs."""
