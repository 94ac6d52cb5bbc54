"""The story of a payment: as text, as JSON, as a page, and as a tree of causes."""
