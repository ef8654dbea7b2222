"""Reports for people: one model rendered as JSON, Markdown, CSV, a page and an e-mail, and sent on a schedule."""
