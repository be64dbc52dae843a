"""The application: training runs that write a folder of their own."""
