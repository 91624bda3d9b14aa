"""The engine on PaddleFormers: the maintainers' trainer of 1.5, 1.6 and of every adapter."""
