"""Whole streets: gateways' simulators, the webhook ingestor, workers and a shop, each as it runs in earnest."""
