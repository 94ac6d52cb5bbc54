"""The books on both databases: turns, locks, guards, migrations, proof."""
