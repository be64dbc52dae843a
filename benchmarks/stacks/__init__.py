"""Real use of the integrations: data and runs of `transformers_study` and `sklearn_study`."""
