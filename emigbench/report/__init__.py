"""What people read: scores, paths and predictions as text for a terminal, Markdown, HTML pages and figures."""
