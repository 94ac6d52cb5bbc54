"""The embedded broker under real processes, real kills and kombu itself."""
