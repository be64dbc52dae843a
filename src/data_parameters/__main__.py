"""``python -m data_parameters``: the command, as ``torchrun -m data_parameters`` starts it."""

from data_parameters.cli import main

if __name__ == "__main__":
    main()
