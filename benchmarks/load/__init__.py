"""Live sessions by the hundred, and the undisturbed ones beside them."""
