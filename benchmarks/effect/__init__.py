"""When does the method work: one network, one budget, one model selection for it and its peers."""
