"""The estimators that train as many networks as the time allows, and combine the best ones."""
