"""Where training data comes from: one file for each kind, imported when it is asked for."""
