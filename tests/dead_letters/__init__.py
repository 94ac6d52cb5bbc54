"""The dead-letter tool: at the desk, at the terminal, and in a drill on real servers."""
