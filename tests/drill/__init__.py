"""Workers killed at random while they move money, judged from outside."""
