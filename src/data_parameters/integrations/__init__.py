"""Data parameters in the training stacks people use: one module and one extra for each."""
