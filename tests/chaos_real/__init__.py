"""The service as it runs in earnest, with everything around it killed, stopped, frozen and cut, judged from outside."""
